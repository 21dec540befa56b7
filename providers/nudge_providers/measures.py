"""What a request takes of its account, and which requests take alike."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

CHARACTERS_A_TOKEN = 4  # of a prompt that nobody has counted yet


def tokens_of(payload: Mapping[str, Any]) -> float:
    """About how many tokens a request may take: what providers count against an account before they answer."""
    prompt = payload.get("prompt")
    size = len(prompt) / CHARACTERS_A_TOKEN if isinstance(prompt, str) else 0.0
    return size + float(payload.get("max_tokens", 0))


def comparable(endpoint: str, payload: Mapping[str, Any] | None, written: int | None) -> Hashable:
    """The kind of a request whose time to its reply may be compared with that of others; None if with no other's.

    Such are requests to one model with prompts of about one length. written: 0 for a stream, whose first token counts;
    of a whole reply how many tokens it has, since it comes when all of them are there; None where nobody has told.
    """
    prompt = payload.get("prompt") if payload else None
    if written is None or not isinstance(prompt, str):
        return None
    return endpoint, len(prompt).bit_length(), written.bit_length()


def written(data: Any) -> int | None:
    """How many tokens a whole reply has, as its usage tells it."""
    usage = data.get("usage") if isinstance(data, dict) else None
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) and count > 0 else None
