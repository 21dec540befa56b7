"""Ten thousand damaged lines: each is one row or one bad row with its number, and none ends the reading."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nudge_client.batch.input.reading import read_rows
from nudge_client.batch.input.rows import BadRow, Format, Row
from nudge_client.prompts import as_messages
from nudge_providers.errors import UsageError

COUNT = 10_000
TEXTS = ["Hi", "Why is the sky blue?", "größer 😀 \u2028 ok", 'a "quote" \\ and {braces}', "日本語", "x" * 300]
PIECES = [
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\u0000", b"\r", b"\x0c", b"\x85", b"NaN", b"-Infinity",
    b"1e999", b"9" * 4500, b"[" * 300, b'{"a":' * 300, b"[" * 100_000, b'"', b"\\", b",", b":", b"{}", b"null", b'"id": [], ',
    b'"prompt": 3, ', b'"n": 2, ', b"0" * 50, b"-", b"e", b"\xe2\x80\xa8", b"/*", b"true",
]  # fmt: skip


def plain(rng: random.Random) -> dict[str, Any]:
    text = rng.choice(TEXTS)
    messages = [{"role": "user", "content": text}]
    asked = rng.choice(
        [{"prompt": text}, {"messages": messages}, {"messages": [{"role": "system", "content": "s"}, *messages]}]
    )
    more = [{"id": rng.choice(["q", 7, None])}, {"system": text}, {"more": [1, 2.5e3, {"a": [None, True]}]}, {}]
    return asked | rng.choice(more)


def request(rng: random.Random) -> dict[str, Any]:
    options = rng.choice(
        [{}, {"max_tokens": 5, "stop": ["a", "b"]}, {"temperature": 0.5, "seed": 1}, {"n": 1, "model": "m"}]
    )
    url = rng.choice(["/v1/chat/completions", "/v1/completions"])
    text = rng.choice(TEXTS)
    asked = {"messages": [{"role": "user", "content": text}]} if "chat" in url else {"prompt": text}
    return {"custom_id": "c1", "method": "POST", "url": url, "body": asked | options}


def flip(rng: random.Random, line: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(line))
    return line[:at] + bytes([line[at] ^ 1 << rng.randrange(8)]) + line[at + 1 :]


def cut(rng: random.Random, line: bytes, _: bytes) -> bytes:
    start, end = sorted(rng.choices(range(len(line) + 1), k=2))
    return line[:start] + line[end:]


def insert(rng: random.Random, line: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(line) + 1)
    return line[:at] + rng.choice(PIECES) + line[at:]


def replace_value(rng: random.Random, line: bytes, _: bytes) -> bytes:
    at = line.find(b": ", rng.randrange(len(line)))
    return line[: at + 2] + rng.choice(PIECES) + b"}" if at > 0 else line


def repeat_a_name(rng: random.Random, line: bytes, _: bytes) -> bytes:
    return (
        b"{"
        + rng.choice([b'"prompt": "b", ', b'"messages": [], ', b'"custom_id": "", ', b'"x": 1, "x": 2, '])
        + line[1:]
    )


def splice(rng: random.Random, line: bytes, other: bytes) -> bytes:
    return line[: rng.randrange(len(line) + 1)] + other[rng.randrange(len(other) + 1) :]


def shorten(rng: random.Random, line: bytes, _: bytes) -> bytes:
    return line[: rng.randrange(len(line) + 1)]


def keep(rng: random.Random, line: bytes, _: bytes) -> bytes:
    return line


MUTATIONS: list[Callable[[random.Random, bytes, bytes], bytes]] = [
    flip,
    cut,
    insert,
    replace_value,
    repeat_a_name,
    splice,
    shorten,
    keep,
]


def mutated(rng: random.Random, make: Callable[[random.Random], dict[str, Any]]) -> bytes:
    line, other = (json.dumps(make(rng), ensure_ascii=rng.random() < 0.5).encode() for _ in range(2))
    for _ in range(rng.choice([1, 1, 2, 3])):
        line = rng.choice(MUTATIONS)(rng, line, other) or b"{"
    return line.replace(b"\n", b"")


def strictly_read(line: bytes) -> Any:
    """The value by a second reading of the rules. Raises ValueError or RecursionError."""

    def refuse(what: object) -> Any:
        raise ValueError(what)

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(found) if len({name for name, _ in found}) == len(found) else refuse("twice")

    value = json.loads(line.decode("utf-8"), parse_constant=refuse, object_pairs_hook=pairs)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return value


def has_valid_prompt(value: Any) -> bool:
    """Whether a row of this project's own shape can be answered."""
    if not isinstance(value, dict) or (value.get("prompt") is None) == (value.get("messages") is None):
        return False
    prompt, messages, system, named = (value.get(name) for name in ("prompt", "messages", "system", "id"))
    shapes = (prompt is None or type(prompt) is str, messages is None or type(messages) is list)
    if not all(shapes) or not isinstance(system, str | None) or type(named) not in (str, int, type(None)):
        return False
    try:
        as_messages(messages if prompt is None else prompt, system or "")
    except UsageError:
        return False
    return True


@pytest.mark.parametrize(("form", "make"), [("jsonl", plain), ("openai", request)])
def test_every_damaged_line_is_one_row(
    tmp_path: Path, form: Format, make: Callable[[random.Random], dict[str, Any]]
) -> None:
    rng = random.Random(20_240_501)
    written = [mutated(rng, make) for _ in range(COUNT)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(written))
    found = list(read_rows(path, form))

    with_content = [number for number, line in enumerate(written, 1) if line.strip(b" \t\r")]
    assert [row.number for row in found] == with_content
    for row in found:
        if isinstance(row, BadRow):
            assert row.problem.startswith(f"line {row.number}: ")
            assert len(row.problem) < 500
            assert row.problem.isprintable()
        else:
            assert as_messages(row.prompt)
            json.dumps(row.fields, ensure_ascii=False, allow_nan=False).encode()
    good = sum(isinstance(row, Row) for row in found)
    assert COUNT / 10 < good < COUNT / 2  # else the mutations would prove little


def test_a_line_is_a_row_exactly_when_it_is_json_with_a_prompt(tmp_path: Path) -> None:
    rng = random.Random(7)
    written = [mutated(rng, plain) for _ in range(COUNT)]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(written))
    for row in read_rows(path, "jsonl"):
        line = written[row.number - 1].removeprefix(b"\xef\xbb\xbf" if row.number == 1 else b"")
        try:
            value = strictly_read(line)
        except (ValueError, RecursionError):
            value = None
        assert isinstance(row, Row) is has_valid_prompt(value), (line[:300], row)
        if isinstance(row, Row):
            assert row.fields == value
