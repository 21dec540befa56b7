"""Any server that a configured `openai.AsyncOpenAI` client can reach: Azure, gateways, credentials of one's own.

    client = AsyncAzureOpenAI(azure_endpoint="https://…", api_version="…", azure_ad_token_provider=…)
    async with NudgeClient(base=OpenAIClientProvider(client, "my-deployment"), nudger=…) as nudge:
        …

A client is an object, so this adapter is for Python only: no endpoint in the settings or on the command line can name
one. It costs about a millisecond more a call than the other adapters, and importing the SDK half a second; where a url
and a bearer token are enough, they are the better choice. `examples/azure_or_gateway.py` runs as it stands.
"""

from __future__ import annotations

import difflib

from openai import AsyncOpenAI, OpenAI

from nudge_providers.compatible import PROFILES
from nudge_providers.completions import CompletionProvider
from nudge_providers.errors import UsageError
from nudge_providers.limits import Limits
from nudge_providers.profile import Profile
from nudge_providers.sdk_transport import SdkTransport


class OpenAIClientProvider(CompletionProvider):
    """One model behind a client of the caller's.

    client: used as it is configured, but that its retries are off: `deadline` covers ours. It stays the caller's and is
    never closed here. model: the model's or the Azure deployment's name.
    profile: which of `compatible.PROFILES` the server behind the client speaks. deadline: seconds for one call,
    retries included. limits: of the account behind the client.
    Raises UsageError for anything but an AsyncOpenAI, an unknown profile, or no model where the profile needs one.
    """

    def __init__(
        self,
        client: AsyncOpenAI,
        model: str,
        *,
        profile: str = "openai",
        deadline: float = 120.0,
        limits: Limits | None = None,
    ) -> None:
        if isinstance(client, OpenAI):
            raise UsageError("the openai client is a synchronous OpenAI; give an openai.AsyncOpenAI instead")
        if not isinstance(client, AsyncOpenAI):
            raise UsageError(f"the openai client is a {type(client).__name__}, not an openai.AsyncOpenAI")
        self.profile = _profile(profile)
        if self.profile.needs_model and not model:
            raise UsageError("an openai client needs a model, or the name of an Azure deployment")
        url = client.base_url  # of which user name, path and query may be secrets
        self.root = f"{url.scheme}://{url.netloc.decode()}"
        endpoint = f"openai-client{':' + model if model else ''}@{self.root}"
        http = SdkTransport(endpoint, client, deadline=deadline, limits=limits, refine=self.refine_error)
        self._attach(http, model, "/completions")

    async def aclose(self) -> None:
        """Ask no more. The client belongs to the caller, who closes it."""
        await super().aclose()


def _profile(name: str) -> Profile:
    if (found := PROFILES.get(name)) is not None:
        return found
    near = difflib.get_close_matches(name, PROFILES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PROFILES)}"
    raise UsageError(f"unknown profile {name!r} for an openai client; {hint}")
