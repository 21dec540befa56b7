"""How one kind of OpenAI-compatible server differs from another, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Profile:
    """How one kind of server differs, as data.

    default_url: its API's root, "" where the user must give one. prefix: what stands between a url and `/completions`,
    unless the url ends in it. key_variable: environment variable of its key.
    needs_model: whether a request must name a model. max_logprobs: the most it lists a position.
    logprobs_flag: whether `logprobs` is a boolean, with the number in `top_logprobs`.
    extra, sampling: fields sent always, and when the temperature is above 0. stream_extra: fields sent with streams, so
    that they tell their usage, at best as they go: a stream that is hung up never tells its end.
    session_field: where a request names what it shares a cache with.
    prompt_logprobs: whether `echo` with logprobs gives them for the prompt.
    """

    name: str
    default_url: str = ""
    prefix: str = "/v1"
    key_variable: str = ""
    needs_model: bool = True
    max_logprobs: int = 5
    logprobs_flag: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stream_extra: Mapping[str, Any] = field(default_factory=lambda: {"stream_options": {"include_usage": True}})
    session_field: str = ""
    prompt_logprobs: bool = False
