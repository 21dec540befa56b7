"""From a server's reply to tokens. Strict: what does not add up is a `MalformedReply`, and no text is ever guessed.

Two shapes of log-probabilities are in use on completion endpoints: chat-style, one object a token (llama.cpp), and the
legacy one of parallel lists (vLLM, Together, most others).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nudge_providers.errors import CapabilityError, MalformedReply
from nudge_providers.types import Finish, Token, Usage

# What servers put for the bytes of a character that the token limit cut short.
REPLACEMENT = "\ufffd"
# Rounding in a server's softmax can leave a certain token a hair above 0.
ROUNDING = 1e-3
FINISHES: Mapping[str, Finish] = {"stop": "stop", "eos": "stop", "length": "length"}


def number(value: object, endpoint: str, field: str, *places: int) -> float:
    """A log-probability: a finite number <= 0, or a MalformedReply that names the field.

    places: fill the `{}` of the field's name, which is only spelled out when something is wrong with it.
    """
    if type(value) is float and -math.inf < value <= 0:
        return value
    field = field.format(*places)
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


def string(value: object, endpoint: str, field: str, *places: int) -> str:
    """A string of whole characters, or a MalformedReply that names the field. places: as for `number`."""
    if type(value) is str and value.isascii():
        return value
    field = field.format(*places)
    if not isinstance(value, str):
        raise MalformedReply(endpoint, field, f"is {describe(value)}, not a string")
    if not is_text(value):
        raise MalformedReply(endpoint, field, "holds half a surrogate pair, which is no character")
    return value


def finish_reason(value: object, endpoint: str) -> Finish:
    """`stop` or `length`; Together's `eos` is a stop."""
    finish = FINISHES.get(value) if isinstance(value, str) else None
    if finish is None:
        shown = repr(value[:40]) if isinstance(value, str) else describe(value)
        raise MalformedReply(endpoint, "choices[0].finish_reason", f"is {shown}")
    return finish


def parse_usage(usage: Any, endpoint: str) -> Usage:
    """Token counts of an OpenAI-style `usage` object."""
    if not isinstance(usage, dict):
        raise MalformedReply(endpoint, "usage", f"is {describe(usage)}, not an object")
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return Usage(
        count(usage.get("prompt_tokens"), endpoint, "usage.prompt_tokens"),
        count(0 if cached is None else cached, endpoint, "usage.prompt_tokens_details.cached_tokens"),
        count(usage.get("completion_tokens"), endpoint, "usage.completion_tokens"),
    )


def count(value: object, endpoint: str, field: str) -> int:
    """A count of tokens."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise MalformedReply(endpoint, field, f"is {describe(value)}, not a count")
    return value


class TokenParser:
    """Reads the tokens of one reply: whole, or event by event of a stream.

    Entries without text (an end of sequence, the first bytes of a character) add no token of their own; a character
    of several byte-tokens becomes one token, as sure as its least sure byte. The tokens spell the text, but for a
    character at its end that was cut short and special tokens at the end, which servers list and leave out of the text.

    greedy: whether each token is its position's most probable, so that a missing top list says nothing new.
    """

    def __init__(self, endpoint: str, *, greedy: bool) -> None:
        self._endpoint = endpoint
        self.greedy = greedy
        self._bytes: list[Token] = []

    def parse(self, text: str, logprobs: object, *, ended: bool) -> tuple[Token, ...]:
        """The tokens that spell `text`; `ended`: whether the model ended here, so that one more may be listed.

        Raises MalformedReply, or CapabilityError where log-probabilities are missing.
        """
        if logprobs is None:
            if not text.strip(REPLACEMENT):
                return ()
            raise CapabilityError(
                "the server returned no log-probabilities",
                endpoint=self._endpoint,
                advice="Nudging judges a base model by them; use a server that returns logprobs with completions",
            )
        if not isinstance(logprobs, dict):
            raise MalformedReply(self._endpoint, "logprobs", f"is {describe(logprobs)}, not an object")
        if logprobs.get("content") is not None:
            listed = _content(logprobs["content"], self._endpoint)
        else:
            listed = _legacy(logprobs, self._endpoint, greedy=self.greedy)
        return self._spell(text, listed, 1 if ended else 0)

    def _spell(self, text: str, listed: Sequence[Token], special: int) -> tuple[Token, ...]:
        spelled: list[Token] = []
        position = 0
        for token in listed:
            if not token.text.strip(REPLACEMENT):
                self._bytes.append(token)
            elif text.startswith(token.text, position):
                spelled.append(self._whole(token))
                position += len(token.text)
            else:
                special -= 1  # an end of sequence is listed, and is not in the text
        if special < 0 or text[position:].strip(REPLACEMENT):
            raise MalformedReply(self._endpoint, "logprobs", "do not spell the text of the reply")
        return tuple(spelled)

    def _whole(self, token: Token) -> Token:
        if not self._bytes:
            return token
        parts, self._bytes = [*self._bytes, token], []
        return token._replace(
            logprob=sum(part.logprob for part in parts), top_logprob=min(part.top_logprob for part in parts), top=()
        )


def _content(content: object, endpoint: str) -> list[Token]:
    """Chat-style: `[{token, logprob, top_logprobs: [{token, logprob}, …]}, …]`."""
    if not isinstance(content, list):
        raise MalformedReply(endpoint, "logprobs.content", f"is {describe(content)}, not a list")
    return [_content_token(entry, index, endpoint) for index, entry in enumerate(content)]


def _content_token(entry: object, index: int, endpoint: str) -> Token:
    if not isinstance(entry, dict):
        raise MalformedReply(endpoint, f"logprobs.content[{index}]", f"is {describe(entry)}, not an object")
    text = string(entry.get("token"), endpoint, "logprobs.content[{}].token", index)
    logprob = number(entry.get("logprob"), endpoint, "logprobs.content[{}].logprob", index)
    listed = entry.get("top_logprobs")
    if not isinstance(listed, list) or not listed:
        field = f"logprobs.content[{index}].top_logprobs"
        raise MalformedReply(endpoint, field, "does not list the most probable token")
    return _with_top(text, logprob, [_listed(item, index, rank, endpoint) for rank, item in enumerate(listed)])


def _listed(item: object, index: int, rank: int, endpoint: str) -> tuple[str, float]:
    """One of the most probable tokens. Its name may be part of a character, and is only shown."""
    name = item.get("token") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(name, str):
        field = f"logprobs.content[{index}].top_logprobs[{rank}]"
        raise MalformedReply(endpoint, field, "is not an object with the text of a token")
    return name, number(item.get("logprob"), endpoint, "logprobs.content[{}].top_logprobs[{}].logprob", index, rank)


def _legacy(logprobs: Mapping[str, Any], endpoint: str, *, greedy: bool) -> list[Token]:
    """Parallel lists `tokens`, `token_logprobs`, `top_logprobs` (an object a token: text to logprob)."""
    texts, own, tops = (logprobs.get(name) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for name, value in (("tokens", texts), ("token_logprobs", own)):
        if not isinstance(value, list):
            raise MalformedReply(endpoint, f"logprobs.{name}", f"is {describe(value)}, not a list")
    assert isinstance(texts, list)
    assert isinstance(own, list)
    if len(own) != len(texts):
        raise MalformedReply(endpoint, "logprobs.token_logprobs", f"has {len(own)} entries for {len(texts)} tokens")
    if isinstance(tops, list) and len(tops) != len(texts):
        raise MalformedReply(endpoint, "logprobs.top_logprobs", f"has {len(tops)} entries for {len(texts)} tokens")
    if not isinstance(tops, list):
        if tops is not None and not isinstance(tops, dict):
            raise MalformedReply(endpoint, "logprobs.top_logprobs", f"is {describe(tops)}, not a list")
        tops = [None] * len(texts)  # Together's published types have one object for all, which tells nothing
    return [
        _legacy_token(text, value, top, index, endpoint, greedy=greedy)
        for index, (text, value, top) in enumerate(zip(texts, own, tops, strict=True))
    ]


def _legacy_token(text: object, value: object, top: object, index: int, endpoint: str, *, greedy: bool) -> Token:
    name = string(text, endpoint, "logprobs.tokens[{}]", index)
    logprob = number(value, endpoint, "logprobs.token_logprobs[{}]", index)
    if top is None or top == {}:
        if not greedy:
            raise CapabilityError(
                "the server does not list the most probable token beside the sampled one",
                endpoint=endpoint,
                advice="Uncertainty cannot be judged on a sampled token; use temperature 0 here",
            )
        return Token(name, logprob, logprob)
    if not isinstance(top, dict):
        raise MalformedReply(endpoint, f"logprobs.top_logprobs[{index}]", f"is {describe(top)}, not an object")
    field = "logprobs.top_logprobs[{}]"
    return _with_top(name, logprob, [(key, number(item, endpoint, field, index)) for key, item in top.items()])


def _with_top(text: str, logprob: float, top: list[tuple[str, float]]) -> Token:
    """The top-1 is never below the token itself: vLLM's keys collide where several tokens decode to the same text.

    So a list that lacks the token that was written is no malformed reply: under greedy decoding the token is the top-1
    (trap 3 of PROVIDERS), and a sampled one may rightly stand outside it.
    """
    if len(top) == 1:
        return Token(text, logprob, max(logprob, top[0][1]))
    best = max(logprob, max(value for _, value in top))
    ranked = tuple(sorted(top, key=lambda item: -item[1]))
    return Token(text, logprob, best, 0, ranked)
