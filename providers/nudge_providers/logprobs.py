"""From a server's list of log-probabilities to tokens. Strict: what does not add up is a `MalformedReply`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nudge_providers.errors import MalformedReply
from nudge_providers.types import Token

# What servers put for the bytes of a character that the token limit cut short.
REPLACEMENT = "\ufffd"
# Rounding in a server's softmax can leave a certain token a hair above 0.
ROUNDING = 1e-3


def number(value: object, endpoint: str, field: str) -> float:
    """A log-probability: a finite number <= 0, or a MalformedReply that names the field."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise MalformedReply(endpoint, field, f"is {describe(value)}, not a number")
    if math.isnan(value) or value == math.inf:
        raise MalformedReply(endpoint, field, f"is {value}")
    if value > ROUNDING:
        raise MalformedReply(endpoint, field, f"is {value:g}, and a log-probability is never above 0")
    return min(float(value), 0.0)


def describe(value: object) -> str:
    """What a wrong value is, in JSON's words."""
    if value is None:
        return "null"
    names: dict[type, str] = {str: "a string", bool: "a boolean", dict: "an object", list: "a list"}
    return names.get(type(value), "a number")


def is_text(text: str) -> bool:
    """Whether all of it are characters: JSON can spell half a surrogate pair, and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tokens_from_content(text: str, content: object, endpoint: str) -> tuple[Token, ...]:
    """Tokens of a chat-style list `[{token, logprob, top_logprobs: [{token, logprob}, …]}, …]`.

    Empty entries (an end-of-sequence token) carry no text and are left out. The rest must spell `text`, except for a
    character at its end that was cut short, which no entry holds.
    """
    if not isinstance(content, Sequence) or isinstance(content, str):
        raise MalformedReply(endpoint, "logprobs.content", f"is {describe(content)}, not a list")
    tokens = tuple(
        _content_token(entry, f"logprobs.content[{index}]", endpoint)
        for index, entry in enumerate(content)
        if not (isinstance(entry, Mapping) and entry.get("token") == "")
    )
    spelled = "".join(token.text for token in tokens)
    if spelled != text and spelled != text.rstrip(REPLACEMENT):
        raise MalformedReply(endpoint, "logprobs.content", "does not spell the text of the reply")
    return tokens


def _content_token(entry: object, field: str, endpoint: str) -> Token:
    if not isinstance(entry, Mapping):
        raise MalformedReply(endpoint, field, f"is {describe(entry)}, not an object")
    text = entry.get("token")
    if not isinstance(text, str):
        raise MalformedReply(endpoint, f"{field}.token", f"is {describe(text)}, not a string")
    logprob = number(entry.get("logprob"), endpoint, f"{field}.logprob")
    return Token(text, logprob, max(logprob, _top_logprob(entry.get("top_logprobs"), field, endpoint)))


def _top_logprob(top: Any, field: str, endpoint: str) -> float:
    if not isinstance(top, Sequence) or isinstance(top, str) or not top:
        raise MalformedReply(endpoint, f"{field}.top_logprobs", "does not list the most probable token")
    best = -math.inf
    for rank, entry in enumerate(top):
        value = entry.get("logprob") if isinstance(entry, Mapping) else None
        best = max(best, number(value, endpoint, f"{field}.top_logprobs[{rank}].logprob"))
    return best
