"""Together's hosted API, as its published spec and its official Python package describe it.

It could not be reached from where this was written, so nothing is trusted and all is checked:
- `finish_reason` may be `eos` as well as `stop`; in a stream it stands beside `choices`, not in them.
- A stream's event has `choices[].text` and a `token` with id, text, logprob and whether it is special.
- `top_logprobs` is published as one object for a whole reply, which tells nothing of single positions: greedy tokens
  are their own top-1, and sampled ones cannot be judged without a list.
- `top_p` other than 1 turned its logprobs into zeros; greedy requests never send it.
- With `echo`, the prompt's tokens come in a top-level `prompt[]`.
- 402: no credit; 403: the prompt is too long; 429 with `x-ratelimit-reset`; 503 when overloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nudge_providers.completions import CompletionProvider
from nudge_providers.errors import (
    CapabilityError,
    ContextExceededError,
    EndpointError,
    MalformedReply,
    printable,
)
from nudge_providers.http_errors import error_message
from nudge_providers.parsing import TokenParser, describe, number, string
from nudge_providers.profile import Profile
from nudge_providers.types import Token

_TOO_LONG = re.compile(r"max_new_tokens|context length|too long|maximum.{0,20}tokens", re.IGNORECASE)


class TogetherProvider(CompletionProvider):
    """One model of Together's. The model must be named, the url may be left out."""

    profile = Profile(
        name="together",
        default_url="https://api.together.xyz/v1",
        key_variable="TOGETHER_API_KEY",
        max_logprobs=20,
        stream_extra={},  # its last event tells the usage unasked
        prompt_logprobs=True,
    )

    def echoed(self, data: Any) -> Mapping[str, Any]:
        """In `prompt[]`, beside the choices."""
        listed = data.get("prompt") if isinstance(data, Mapping) else None
        if not isinstance(listed, list) or not listed or not isinstance(listed[0], Mapping):
            raise CapabilityError("the reply holds no prompt tokens", endpoint=self._endpoint)
        return listed[0]

    def stream_tokens(
        self, event: Mapping[str, Any], choice: Mapping[str, Any], parser: TokenParser
    ) -> Sequence[Token]:
        """One token an event, beside the choices."""
        text = string(choice.get("text") or "", self._endpoint, "choices[0].text")
        token = event.get("token")
        if token is None:
            return super().stream_tokens(event, choice, parser)
        if not isinstance(token, Mapping):
            raise MalformedReply(self._endpoint, "token", f"is {describe(token)}, not an object")
        special = token.get("special", False)
        if not isinstance(special, bool):  # what is taken for true would lose text
            raise MalformedReply(self._endpoint, "token.special", f"is {describe(special)}, not a boolean")
        if special or not text:
            return ()  # special tokens never reach the text
        if not parser.greedy:
            raise CapabilityError(
                "a stream lists only the sampled token, not the most probable one",
                endpoint=self._endpoint,
                advice="Uncertainty cannot be judged on a sampled token; use temperature 0, or do not stream",
            )
        logprob = number(token.get("logprob"), self._endpoint, "token.logprob")
        if string(token.get("text"), self._endpoint, "token.text") != text:
            raise MalformedReply(self._endpoint, "token.text", "is not the text of its choice")
        return (Token(text, logprob, logprob),)

    def stream_finish(self, event: Mapping[str, Any], choice: Mapping[str, Any]) -> object:
        """Beside the choices by the published types, in them as others have it."""
        return event.get("finish_reason") or choice.get("finish_reason")

    def refine_error(self, error: EndpointError, body: Any) -> EndpointError:
        """403, or 400 naming `max_new_tokens`: the prompt and the answer do not fit."""
        message = error_message(body)
        if error.status in (400, 403, 422) and _TOO_LONG.search(message):
            return ContextExceededError(
                f"the prompt is too long: {printable(message)}", endpoint=error.endpoint, status=error.status
            )
        return error
