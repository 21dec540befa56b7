"""Log-probabilities of a prompt, from a reply with `echo`: parallel lists over prompt and generated tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nudge_providers.errors import CapabilityError, MalformedReply
from nudge_providers.parsing import describe, number, string
from nudge_providers.types import ScoredToken, Token


def scored(choice: Mapping[str, Any], prompt: str, continuation: str, endpoint: str) -> tuple[ScoredToken, ...]:
    """The tokens of `continuation` after `prompt`; the first may begin in the prompt.

    Looked for in the reply, never inferred from the request: a server may ignore `echo` without a word.
    Raises CapabilityError when the reply holds no prompt tokens, MalformedReply when its lists do not add up.
    """
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, Mapping) or not isinstance(logprobs.get("tokens"), list):
        raise CapabilityError("the server gives no log-probabilities of a prompt", endpoint=endpoint)
    texts = [string(text, endpoint, f"logprobs.tokens[{i}]") for i, text in enumerate(logprobs["tokens"])]
    own, tops = logprobs.get("token_logprobs"), logprobs.get("top_logprobs")
    for name, value in (("token_logprobs", own), ("top_logprobs", tops)):
        if not isinstance(value, list) or len(value) != len(texts):
            raise MalformedReply(endpoint, f"logprobs.{name}", f"is {describe(value)} that does not match the tokens")
    assert isinstance(own, list)
    assert isinstance(tops, list)
    if not own or own[0] is not None:  # the first token of a prompt has nothing before it to be judged by
        raise CapabilityError("the server ignores `echo`: the reply holds no prompt tokens", endpoint=endpoint)
    begin, end = _span("".join(texts), prompt, continuation, endpoint)
    found: list[ScoredToken] = []
    offset = 0
    for index, text in enumerate(texts):
        if offset < end and offset + len(text) > begin and index:
            found.append(_scored(text, own[index], tops[index], index, endpoint))
        offset += len(text)
    return tuple(found)


def _span(whole: str, prompt: str, continuation: str, endpoint: str) -> tuple[int, int]:
    """Where the continuation stands in the echoed text: after the prompt, which a BOS may precede, and before what was
    generated.
    """
    at = whole.find(prompt + continuation)
    if at < 0:
        raise MalformedReply(endpoint, "logprobs.tokens", "do not spell the prompt")
    return at + len(prompt), at + len(prompt) + len(continuation)


def _scored(text: str, value: object, top: object, index: int, endpoint: str) -> ScoredToken:
    field = f"logprobs.top_logprobs[{index}]"
    if not isinstance(top, Mapping) or not top:
        raise MalformedReply(endpoint, field, f"is {describe(top)}, not an object")
    ranked = sorted(((number(item, endpoint, field), name) for name, item in top.items()), reverse=True)
    best, name = ranked[0]
    return ScoredToken(text, number(value, endpoint, f"logprobs.token_logprobs[{index}]"), Token(name, best, best))
