"""From endpoints as they are written, and the settings of their providers, to providers that are ready."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from pydantic import SecretStr

from nudge_client.settings import ProviderSettings, Settings
from nudge_providers.endpoint import EndpointSpec, parse_endpoint
from nudge_providers.errors import UsageError
from nudge_providers.keys import key_from_environment, key_from_file
from nudge_providers.limits import Limits
from nudge_providers.registry import make_provider
from nudge_providers.types import Provider

LOCAL = "local"


@asynccontextmanager
async def open_endpoints(endpoints: Sequence[str], settings: Settings) -> AsyncIterator[list[Provider]]:
    """Providers for endpoints as they are written, in order; local models are served for as long as it lasts.

    settings: `timeout`, in seconds for one request with all its retries, and `providers`.
    Raises UsageError, UnavailableError.
    """
    specs = [parse_endpoint(endpoint) for endpoint in endpoints]
    async with AsyncExitStack() as stack:
        urls: dict[str, str] = {}
        if local := [spec.model for spec in specs if spec.provider == LOCAL]:
            from nudge_client.local import local_urls

            urls = await stack.enter_async_context(local_urls(local))
        providers: list[Provider] = []
        for spec in specs:
            here = EndpointSpec("llamacpp", url=urls[spec.model]) if spec.provider == LOCAL else spec
            providers.append(_provider(here, settings))
            stack.push_async_callback(providers[-1].aclose)
        yield providers


def _provider(spec: EndpointSpec, settings: Settings) -> Provider:
    own = settings.providers.get(spec.provider)
    if own is None:
        return make_provider(spec, deadline=settings.timeout)
    meant = replace(spec, provider=own.kind or spec.provider, url=spec.url or own.url)
    limits = Limits(
        own.requests_per_minute or math.inf,
        own.tokens_per_minute or math.inf,
        max_concurrency=own.max_concurrency,
        start_concurrency=own.start_concurrency,
    )
    return make_provider(
        meant,
        api_key=_key(spec.provider, own),
        deadline=settings.timeout,
        limits=None if limits == Limits() else limits,
    )


def _key(name: str, own: ProviderSettings) -> SecretStr | None:
    """The key that the provider's settings refer to. No value is quoted: people do paste keys where names belong."""
    if own.key_file:
        return key_from_file(Path(own.key_file), f"providers.{name}.key_file")
    if not own.key_env:
        return None
    key = key_from_environment(own.key_env)
    if key is None:
        raise UsageError(f"providers.{name}.key_env: the environment variable that it names is not set")
    return key
