"""Rows of JSONL files and of the OpenAI Batch format."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from nudge_client.batch.input import lines
from nudge_client.batch.input.reading import format_of, read_rows
from nudge_client.batch.input.rows import BadRow, Format, Row
from nudge_providers.errors import UsageError

MESSAGES = [{"role": "user", "content": "Hi"}]


def read(folder: Path, content: bytes, form: Format = "jsonl", template: str | None = None) -> list[Row | BadRow]:
    path = folder / "rows.jsonl"
    path.write_bytes(content)
    return list(read_rows(path, form, template=template))


def one(folder: Path, content: bytes, form: Format = "jsonl") -> Row | BadRow:
    (found,) = read(folder, content, form)
    return found


def problem(folder: Path, content: bytes, form: Format = "jsonl") -> str:
    found = one(folder, content, form)
    assert isinstance(found, BadRow)
    return found.problem


def request(url: str = "/v1/chat/completions", **body: Any) -> bytes:
    asked = {"messages": MESSAGES} if "chat" in url else {"prompt": "Hi"}
    return json.dumps({"custom_id": "a", "method": "POST", "url": url, "body": asked | body}).encode()


def test_rows_carry_everything_they_hold(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"prompt": "Hi", "id": "q", "n": 1.5, "more": [null, {}]}\r\n \t\r\n\n{"messages": [{"role": "user", "content": "Hi"}]}'
    assert read(tmp_path, content) == [
        Row(1, "q", "Hi", {"prompt": "Hi", "id": "q", "n": 1.5, "more": [None, {}]}),
        Row(4, 4, MESSAGES, {"messages": MESSAGES}),
    ]


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    assert read(tmp_path, b"") == read(tmp_path, b"\xef\xbb\xbf") == read(tmp_path, b"\n \n") == []


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d"
    assert one(tmp_path, json.dumps({"prompt": text}, ensure_ascii=False).encode()) == Row(1, 1, text, {"prompt": text})
    assert [row.number for row in read(tmp_path, b'{"prompt": "a"}\x0c{"prompt": "b"}\n{"prompt": "c"}')] == [1, 2]


@pytest.mark.parametrize(("id_", "read_as"), [("q", "q"), (7, 7), (None, 1), ("", 1), (0, 0)])
def test_ids(tmp_path: Path, id_: object, read_as: object) -> None:
    assert one(tmp_path, json.dumps({"prompt": "Hi", "id": id_}).encode()).id == read_as


def test_a_system_message_goes_in_front_of_the_row_s_prompt(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief."}
    for asked in ({"prompt": "Hi"}, {"messages": MESSAGES}):
        row = one(tmp_path, json.dumps(asked | {"system": "Be brief."}).encode())
        assert isinstance(row, Row)
        assert row.prompt == [system, *MESSAGES]
        assert row.fields == asked | {"system": "Be brief."}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'"Hi"', "it is a string, not an object"),
        (b"[]", "it is a list, not an object"),
        (b"null", "it is null, not an object"),
        (b"{}", "it has no `prompt` or `messages`"),
        (b'{"prompt": null}', "it has no `prompt` or `messages`"),
        (b'{"prompt": " "}', "the prompt is empty"),
        (b'{"prompt": 3}', "`prompt` is a number, not a string"),
        (b'{"messages": "Hi"}', "`messages` is a string, not a list"),
        (b'{"messages": []}', "the last message must be the user's"),
        (b'{"messages": [{"role": "tool", "content": "x"}]}', "unknown role 'tool'"),
        (b'{"prompt": "a", "messages": []}', "both `prompt` and `messages`"),
        (b'{"prompt": "a", "id": true}', "`id` is a boolean"),
        (b'{"prompt": "a", "id": 1.5}', "`id` is a number, not a string or an integer"),
        (b'{"prompt": "a", "system": ["x"]}', "`system` is a list, not a string"),
        (b'{"prompt": "a"', "it is not JSON: Expecting ',' delimiter (column 15)"),
        (b'{"prompt": "a', "it is not JSON: Unterminated string starting at (column 12)"),
        (b'{"prompt": "a"} {}', "it is not JSON: Extra data (column 17)"),
        (b'{"prompt": "a\x00"}', "it is not JSON: Invalid control character"),
        (b'{"prompt": "a\xff"}', "it is not UTF-8 text (byte 14)"),
        (b'{"prompt": "a\xed\xa0\x80"}', "it is not UTF-8 text (byte 14)"),
        (b'{"prompt": "a", "b": "\\ud800"}', "half a surrogate pair"),
        (b'{"prompt": "a", "\\uDFFF": 1}', "half a surrogate pair"),
        (b'{"prompt": "a", "b": NaN}', "NaN is no JSON value"),
        (b'{"prompt": "a", "b": -Infinity}', "-Infinity is no JSON value"),
        (b'{"prompt": "a", "b": -1e999}', "a number that is too large: -1e999"),
        (b'{"prompt": "a", "b": ' + b"9" * 5000 + b"}", "a number with too many digits"),
        (b'{"prompt": "a", "prompt": "b"}', "an object in it has 'prompt' twice"),
        (b'{"prompt": "a", "b": [{"c": 1, "c": 1}]}', "an object in it has 'c' twice"),
        (b'{"prompt": "a", "b": ' + b"[" * 200 + b"]" * 200 + b"}", "nested deeper than 200"),
        (b'{"prompt": "a", "b": ' + b'{"c":' * 99_999, "nested deeper than 200"),
        (b"[" * 1_000_000, "nested deeper than 200"),
    ],
)
def test_a_bad_line_is_one_bad_row_and_reading_goes_on(tmp_path: Path, line: bytes, said: str) -> None:
    found = read(tmp_path, b"\n" + line + b'\n{"prompt": "next"}')
    assert [type(row) for row in found] == [BadRow, Row]
    bad, good = found
    assert isinstance(bad, BadRow)
    assert bad.problem.startswith("line 2: ")
    assert said in bad.problem
    assert len(bad.problem) < 500
    assert good.number == 3


def test_what_is_just_within_the_limits_is_a_row(tmp_path: Path) -> None:
    line = b'{"prompt": "\\ud83d\\ude00", "b": ' + b"[" * 199 + b"]" * 199 + b', "c": [' + b"[]," * 300 + b"1e308]}"
    row = one(tmp_path, line)
    assert isinstance(row, Row)
    assert row.prompt == "\U0001f600"


def test_a_bad_row_keeps_what_could_be_read(tmp_path: Path) -> None:
    assert one(tmp_path, b'{"id": "q", "extra": 1}') == BadRow(
        1, "q", "line 1: it has no `prompt` or `messages`", {"id": "q", "extra": 1}
    )
    assert one(tmp_path, b'{"extra": 1}').id == 1
    assert one(tmp_path, b"{").id is None


def test_a_line_beyond_the_limit_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 20)
    for end in (b"\n", b""):
        fits, beyond = b'{"prompt": "123456"}', b'{"prompt": "1234567"}'
        assert (len(fits), len(beyond)) == (20, 21)
        found = read(tmp_path, beyond + b"\n" + fits + b"\n" + b"x" * 3_000_000 + b"\n" + fits + end)
        assert [(type(row), row.number) for row in found] == [(BadRow, 1), (Row, 2), (BadRow, 3), (Row, 4)]


def test_an_endless_line_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.truncate(600 << 20)  # a hole: 600 MiB of NUL that take no room
        file.seek(0, os.SEEK_END)
        file.write(b'\n{"prompt": "Hi"}\n')
    tracemalloc.start()
    try:
        bad, good = read_rows(path, "jsonl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(bad, BadRow)
    assert bad.problem == "line 1: it is longer than 64 MiB"
    assert isinstance(good, Row)
    assert good.number == 2
    assert peak < 3 * (64 << 20)


def test_many_rows_take_no_more_memory_than_few(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        path.write_text("".join(f'{{"prompt": "How much is {n} and {n}?", "id": {n}}}\n' for n in range(count)))
        tracemalloc.start()
        try:
            assert sum(isinstance(row, Row) for row in read_rows(path, "jsonl")) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is imported and compiled once
    few, many = peak(1_000), peak(100_000)
    assert many < few + 1_000_000


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no\\.jsonl: No such file"):
        next(read_rows(tmp_path / "no.jsonl", "jsonl"))
    with pytest.raises(UsageError, match="it is not a file"):
        next(read_rows(tmp_path, "jsonl"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="read from standard input, as -"):
        format_of(tmp_path / "pipe", None)


def test_the_format_is_that_of_the_flag_or_the_name_or_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\n{broken\n"x"\n' + request() + b'\n{"prompt": "Hi"}\n')
    (tmp_path / "input").write_bytes(b'{"prompt": "Hi"}\n' + request())
    (tmp_path / "empty.ndjson").touch()
    assert format_of(path, None) == format_of(path, "auto") == "openai"
    assert format_of(path, "jsonl") == "jsonl"
    assert format_of(tmp_path / "input", None) == format_of(tmp_path / "empty.ndjson", None) == "jsonl"
    assert format_of(Path("no.CSV"), None) == format_of(Path("no.tsv"), None) == "csv"
    assert format_of(Path("no.parquet"), "auto") == "parquet"
    with pytest.raises(UsageError, match=r"no\.txt: its name does not tell its format; give a --format: jsonl, openai"):
        format_of(Path("no.txt"), None)
    with pytest.raises(UsageError, match="unknown format 'xml'"):
        format_of(path, "xml")
    with pytest.raises(UsageError, match="No such file"):
        format_of(tmp_path / "no.jsonl", None)


def test_requests_carry_their_settings(tmp_path: Path) -> None:
    line = request(
        model="m", max_tokens=5, temperature=0.5, top_p=0.9, seed=3, stop="x", n=1, stream=False, user="u",
        response_format={"type": "text"}, logprobs=False, tools=None, presence_penalty=0,
    )  # fmt: skip
    options = {"max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ("x",)}
    assert one(tmp_path, line, "openai") == Row(1, "a", MESSAGES, json.loads(line), options)
    row = one(
        tmp_path,
        request("/v1/completions", prompt=["Hi"], stop=["x", "y"], max_completion_tokens=7, max_tokens=None, seed=None),
        "openai",
    )
    assert isinstance(row, Row)
    assert (row.prompt, row.options) == ("Hi", {"max_tokens": 7, "stop": ("x", "y")})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"body": {}}', "`custom_id` is missing"),
        (b'{"custom_id": 3, "body": {}}', "`custom_id` is not a string"),
        (b'{"custom_id": "a", "method": "GET", "url": "/v1/completions", "body": {"prompt": "Hi"}}', "`method`"),
        (b'{"custom_id": "a", "body": {"prompt": "Hi"}}', "`url` is not /v1/chat/completions or /v1/completions"),
        (request("/v1/chat/embeddings"), "`url` is not"),
        (b'{"custom_id": "a", "url": "/v1/completions"}', "`body` is missing"),
        (b'{"custom_id": "a", "url": "/v1/completions", "body": []}', "`body` is a list"),
        (request(messages=None), "`body.messages` is null, not a list"),
        (request(messages=[{"role": "user", "content": ""}]), "the prompt is empty"),
        (request("/v1/completions", prompt=["a", "b"]), "`body.prompt` is a list of 2"),
        (request("/v1/completions", prompt=[[1, 2]]), "`body.prompt` is a list, not a string"),
        (request("/v1/completions", prompt=None), "`body.prompt` is null, not a string"),
        (request(max_tokens=0), "`body.max_tokens`: 0: input should be greater"),
        (request(max_completion_tokens="many"), "`body.max_completion_tokens`: 'many'"),
        (request(max_tokens=1, max_completion_tokens=2), "differ"),
        (request(temperature=-1), "`body.temperature`: -1"),
        (request(temperature=True), "temperature: no setting is true or false"),
        (request(seed=[1]), "`body.seed`: [1]"),
        (request(stop=["x", ""]), "a stop string is empty"),
        (request(stop={}), "`body.stop`: {}"),
        (request(n=2), "`body.n` asks for what nudging cannot do"),
        (request(tools=[{"type": "function"}]), "`body.tools`"),
        (request(response_format={"type": "json_object"}), "`body.response_format`"),
        (request(stream=True), "`body.stream`"),
        (request(logprobs=True), "`body.logprobs`"),
        (request("/v1/completions", logprobs=0), "`body.logprobs`"),
        (request(logit_bias={"5": 1}), "`body.logit_bias`"),
    ],
)
def test_a_request_that_cannot_be_met_is_a_bad_row(tmp_path: Path, line: bytes, said: str) -> None:
    assert said in (told := problem(tmp_path, b"\n" + line, "openai"))
    assert told.startswith("line 2: ")


def test_a_request_with_a_bad_value_keeps_its_id(tmp_path: Path) -> None:
    assert one(tmp_path, request(n=2), "openai").id == "a"
    assert one(tmp_path, b'{"custom_id": 3}', "openai").id is None


def test_requests_take_no_template(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave the template out"):
        read_rows(tmp_path / "x.jsonl", "openai", template="{prompt}")
