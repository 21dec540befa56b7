from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_providers.sse import SseDecoder

STREAM = ': hello\n\ndata: {"a": "é🎉"}\n\nevent: x\r\ndata:no space\r\ndata: two\r\n\r\n\n\ndata: [DONE]\n\n'.encode()
EVENTS = ['{"a": "é🎉"}', "no space\ntwo", "[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_however_it_is_split(cuts: list[int]) -> None:
    decoder = SseDecoder()
    edges = [0, *sorted(cuts), len(STREAM)]
    parts = [STREAM[a:b] for a, b in pairwise(edges)]
    assert [event for part in parts for event in decoder.decode(part)] == EVENTS


def test_byte_by_byte() -> None:
    decoder = SseDecoder()
    assert [event for byte in STREAM for event in decoder.decode(bytes([byte]))] == EVENTS


def test_what_is_not_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        SseDecoder().decode(b"data: \xff\n\n")
