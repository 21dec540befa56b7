"""Rows of CSV and Parquet files."""

from __future__ import annotations

import datetime as dt
import math
import random
import sys
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nudge_client.batch.input import lines
from nudge_client.batch.input.reading import read_rows
from nudge_client.batch.input.rows import BadRow, Row
from nudge_providers.errors import UsageError


def read_csv(folder: Path, content: bytes, template: str | None = None, name: str = "rows.csv") -> list[Row | BadRow]:
    path = folder / name
    path.write_bytes(content)
    return list(read_rows(path, "csv", template=template))


def read_parquet(
    folder: Path, columns: dict[str, Any] | pa.Table, template: str | None = None, **options: Any
) -> list[Row | BadRow]:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(columns) if isinstance(columns, dict) else columns, path, **options)
    return list(read_rows(path, "parquet", template=template))


def problems(rows: list[Row | BadRow]) -> list[str | None]:
    return [row.problem if isinstance(row, BadRow) else None for row in rows]


def test_records_with_their_columns(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,prompt,system,n\r\nq1,"a, ""b""\r\nand\nc",,1\r\n\r\n,Hi,Be brief.,\r\n'
    assert read_csv(tmp_path, content) == [
        Row(1, "q1", 'a, "b"\r\nand\nc', {"id": "q1", "prompt": 'a, "b"\r\nand\nc', "system": "", "n": "1"}),
        Row(
            2,
            2,
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            {"id": "", "prompt": "Hi", "system": "Be brief.", "n": ""},
        ),
    ]


def test_tsv_has_tabs(tmp_path: Path) -> None:
    (row,) = read_csv(tmp_path, b"q\tx\nWhy, then?\t1\n", "{q} {x}", "rows.TSV")
    assert isinstance(row, Row)
    assert row.prompt == "Why, then? 1"


def test_a_bad_record_is_one_bad_row_with_its_line(tmp_path: Path) -> None:
    content = b'prompt,b\n"a\nb",1\nc\n\nd,1,2\n,\n"e"x,1\nf\xff,1\ng,1\n"h,1\n'
    found = read_csv(tmp_path, content)
    assert problems(found) == [
        None,
        "row 2 (line 4): the header has 2 columns, and this record 1",
        "row 3 (line 6): the header has 2 columns, and this record 3",
        "row 4 (line 7): the prompt is empty",
        "row 5 (line 8): it is not CSV: ',' expected after '\"'; is a quote left open, or not doubled?",
        "row 6 (line 9): it is not UTF-8 text",
        None,
        "row 8 (line 11): it is not CSV: unexpected end of data; is a quote left open, or not doubled?",
    ]
    assert [row.number for row in found] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_cell_may_be_long_and_a_line_may_not_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 1_000_000
    (row,) = read_csv(tmp_path, f"prompt\n{long}\n".encode())
    assert isinstance(row, Row)
    assert row.prompt == long
    monkeypatch.setattr(lines, "LONGEST", 1000)
    found = read_csv(tmp_path, f"prompt\n{long}\nHi\n,\n".encode())
    assert [row.number for row in found] == [1, 2, 3]
    told = problems(found)
    assert told[0]
    assert told[0].startswith("row 1 (line 2): it is not CSV: a line is longer than")
    assert told[2]
    assert told[2].startswith("row 3 (line 4): ")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"prompt,a,a\nx,1,2\n", "two columns are called 'a'"),
        (b"prompt,,a\nx,1,2\n", "a column has no name; its columns: prompt, , a"),
        (b"question\nx\n", "it has no column `prompt`; name its columns in a --template: question"),
        (b"prompt\xff\nx\n", "its header is not UTF-8"),
        (b'"prompt"x\nx\n', "its header is not CSV"),
    ],
)
def test_a_header_that_cannot_be_used_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UsageError) as error:
        read_csv(tmp_path, content)
    assert said in str(error.value)


def test_a_template_that_names_no_column_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it has no column 'q', which the template names; its columns: prompt, b"):
        read_csv(tmp_path, b"prompt,b\nHi,1\n", "{q}")
    with pytest.raises(UsageError, match="it has no column 'q'"):
        read_parquet(tmp_path, {"prompt": ["Hi"]}, "{q}")


def test_parquet_rows(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert read_parquet(tmp_path, {"prompt": ["a", "b"], "id": ["q", None], "system": [None, ""]}) == [
        Row(1, "q", "a", {"prompt": "a", "id": "q", "system": None}),
        Row(2, 2, "b", {"prompt": "b", "id": None, "system": ""}),
    ]
    assert read_parquet(tmp_path, {"messages": [messages], "id": [5]}) == [
        Row(1, 5, messages, {"messages": messages, "id": 5})
    ]
    assert problems(read_parquet(tmp_path, {"prompt": [3, None], "id": [1.5, 1.5]})) == [
        "row 1: `id` is a number, not a string or an integer",
        "row 2: `id` is a number, not a string or an integer",
    ]


def test_parquet_values_become_what_json_can_say(tmp_path: Path) -> None:
    moment = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
    columns = {
        "prompt": ["Hi"],
        "moment": pa.array([moment], pa.timestamp("ms", "UTC")),
        "nanoseconds": pa.array([1_714_566_600_123_456_789], pa.timestamp("ns")),
        "day": [moment.date()],
        "time": [dt.time(1, 2, 3)],
        "duration": [dt.timedelta(hours=1)],
        "price": [Decimal("12.50")],
        "bytes": [b"\xff\x00"],
        "text": [b"caf\xc3\xa9"],
        "floats": [[1.5, math.nan, -math.inf]],
        "map": pa.array([[("a", b"b")]], pa.map_(pa.string(), pa.binary())),
        "half": pa.array([1.5], pa.float32()),
        "word": pa.array(["x"]).dictionary_encode(),
    }
    (row,) = read_parquet(tmp_path, columns)
    assert row.fields == {
        "prompt": "Hi",
        "moment": "2024-05-01T12:30:00+00:00",
        "nanoseconds": "2024-05-01T12:30:00.123456",
        "day": "2024-05-01",
        "time": "01:02:03",
        "duration": "1:00:00",
        "price": "12.50",
        "bytes": "/wA=",
        "text": "café",
        "floats": [1.5, None, None],
        "map": [["a", "b"]],
        "half": 1.5,
        "word": "x",
    }


def test_a_prompt_of_bytes_is_text_or_a_bad_row(tmp_path: Path) -> None:
    good, bad = read_parquet(tmp_path, {"prompt": [b"Hi", b"\xff"]})
    assert isinstance(good, Row)
    assert good.prompt == "Hi"
    assert problems([bad]) == ["row 2: `prompt` is bytes that are not UTF-8 text"]


def test_a_value_that_python_cannot_hold_makes_its_row_bad_alone(tmp_path: Path) -> None:
    far = pa.array([0, 2**62, 0], pa.timestamp("ms"))
    told = problems(read_parquet(tmp_path, {"prompt": ["a", "b", "c"], "far": far}))
    assert (told[0], told[2]) == (None, None)
    assert told[1]
    assert told[1].startswith("row 2: a value in it cannot be read: ")


def test_parquet_is_read_in_order_over_batches_and_row_groups(tmp_path: Path) -> None:
    found = read_parquet(tmp_path, {"prompt": [f"p{n}" for n in range(1_500)]}, row_group_size=700)
    assert [(row.number, row.fields["prompt"]) for row in found] == [(n + 1, f"p{n}") for n in range(1_500)]


def test_what_is_no_parquet_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with pytest.raises(UsageError, match="No such file"):
        list(read_rows(path, "parquet"))
    path.write_bytes(b"prompt\nHi\n")
    with pytest.raises(UsageError, match="not a whole Parquet file: "):
        list(read_rows(path, "parquet"))
    pq.write_table(
        pa.table({"prompt": [f"{n:050}" for n in range(10_000)]}),
        path,
        row_group_size=5_000,
        compression="none",
        use_dictionary=False,
    )
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff" * 200_000 + whole[len(whole) // 2 + 200_000 :])
    with pytest.raises(UsageError, match=r"not a whole Parquet file, after row \d+: "):
        list(read_rows(path, "parquet"))
    with pytest.raises(UsageError, match="two columns are called 'prompt'"):
        read_parquet(tmp_path, pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"]))
    with pytest.raises(UsageError, match="it has no column `prompt`"):
        read_parquet(tmp_path, {"text": ["a"]})


def test_any_damage_to_a_parquet_file_is_told(tmp_path: Path) -> None:
    rng = random.Random(1)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": [f"é{n}" for n in range(300)], "more": [[{"a": b"x"}]] * 300}), path)
    whole = path.read_bytes()
    told = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice([len(whole), len(whole), rng.randrange(len(whole))])])
        try:
            assert all(row.number for row in read_rows(path, "parquet"))
        except UsageError:  # anything else would end the test
            told += 1
    assert told > 100


def test_without_pyarrow_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UsageError, match=r"pip install 'nudge-client\[parquet\]'"):
        read_rows(tmp_path / "rows.parquet", "parquet")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_many_rows_take_no_more_memory_than_few(tmp_path: Path, form: Any) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.{form}"
        prompts = [f"How much is {n} and {n}?" for n in range(count)]
        if form == "csv":
            path.write_text("\n".join(["prompt", *prompts]))
        else:
            # One row group of small pages: a page is what is held.
            pq.write_table(
                pa.table({"prompt": prompts}), path, compression="none", use_dictionary=False, data_page_size=10_000
            )
        tracemalloc.start()
        before = pa.total_allocated_bytes()
        arrow = 0
        try:
            for number, row in enumerate(read_rows(path, form), 1):
                assert row.number == number
                arrow = max(arrow, pa.total_allocated_bytes() - before) if number % 100 == 0 else arrow
            assert number == count
            return tracemalloc.get_traced_memory()[1] + arrow
        finally:
            tracemalloc.stop()

    peak(100)  # what is imported and compiled once
    few, many = peak(1_000), peak(100_000)
    assert many < few + 1_000_000
