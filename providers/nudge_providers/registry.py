"""Providers by name. A provider's module is imported when it is used; others come in by entry point."""

from __future__ import annotations

import difflib
from importlib.metadata import entry_points
from typing import Any

from pydantic import SecretStr

from nudge_providers.endpoint import EndpointSpec
from nudge_providers.errors import UsageError
from nudge_providers.keys import key_from_environment
from nudge_providers.limits import Limits
from nudge_providers.types import Provider

GROUP = "nudge_client.providers"


def provider_names() -> list[str]:
    """Names that an endpoint may begin with."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def _key_variable(factory: Any) -> str:
    """The environment variable of a provider's key: of its profile, or its own attribute."""
    profile = getattr(factory, "profile", None)
    return str(getattr(profile or factory, "key_variable", ""))


def make_provider(
    spec: EndpointSpec,
    *,
    api_key: SecretStr | None = None,
    deadline: float = 120.0,
    limits: Limits | None = None,
) -> Provider:
    """The provider for a parsed endpoint.

    A provider is a class taking `url, model, api_key, deadline` by keyword, registered in the entry-point group
    `nudge_client.providers`; `limits` too, where the user has set any. Without `api_key`, the class's `key_variable`
    names the environment variable to look in.
    Raises UsageError for an unknown name, or when the endpoint lacks something its provider needs.
    """
    found = list(entry_points(group=GROUP, name=spec.provider))
    if not found:
        near = difflib.get_close_matches(spec.provider, provider_names(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(provider_names())}, local"
        raise UsageError(f"unknown provider {spec.provider!r} in endpoint '{spec}'{hint}")
    factory: Any = found[0].load()
    if api_key is None and (variable := _key_variable(factory)):
        api_key = key_from_environment(variable)
    more = {} if limits is None else {"limits": limits}
    provider = factory(url=spec.url, model=spec.model, api_key=api_key, deadline=deadline, **more)
    assert isinstance(provider, Provider)
    return provider
