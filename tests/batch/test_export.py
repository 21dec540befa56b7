"""Exports: everything in the order of the input, in three formats that read back, and never half a file."""

from __future__ import annotations

import csv
import json
import os
import resource
import stat
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from nudge_client.batch.results import export as module
from nudge_client.batch.results.export import FORMS, Exported, export
from nudge_client.batch.results.input_order import RUN, InputOrder
from nudge_client.batch.results.output_rows import lines, records
from nudge_providers.errors import UsageError
from tests.batch.made import answered, failed, openai, own, unread, written

ODD = 'Grüße, "日本"\r\n=1+1\n\tشكرا 👩‍👩‍👧\x00'


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_back(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        return list(read_csv(path))
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("form", FORMS)
def test_rows_and_samples_are_in_the_order_of_the_input(tmp_path: Path, form: str) -> None:
    finished = [(3, 1), (1, 1), (10, 0), (2, 0), (3, 0), (1, 0), (2, 1), (10, 1)]
    out = written(tmp_path / "out.jsonl", [own(row, sample=sample) for row, sample in finished])
    to = tmp_path / f"to.{form}"
    assert export(out, to) == Exported(8, 0)
    assert [(int(row["row"]), int(row["sample"])) for row in read_back(to)] == sorted(finished)


def test_jsonl_keeps_every_line_to_the_byte(tmp_path: Path) -> None:
    rows = [
        own(2, text="an input field of that name", note=ODD),
        failed(3),
        unread(1),
        openai(4),
        openai(5, answered(("base", ODD))),
    ]
    out = written(tmp_path / "out.jsonl", rows)
    given = out.read_bytes().splitlines(keepends=True)
    assert export(out, tmp_path / "to.jsonl") == Exported(5, 3)
    assert (tmp_path / "to.jsonl").read_bytes() == b"".join([given[2], given[0], given[1], given[3], given[4]])


@pytest.mark.parametrize("form", FORMS)
def test_a_line_that_is_still_being_written_is_left_out(tmp_path: Path, form: str) -> None:
    out = written(tmp_path / "out.jsonl", [own(2), own(1)], tail='{"row": 3, "id": 3, "te')
    to = tmp_path / f"to.{form}"
    assert export(out, to).records == 2
    assert [int(row["row"]) for row in read_back(to)] == [1, 2]
    assert [record.row for record in records(out)] == [2, 1]


def test_offsets_are_those_of_the_lines(tmp_path: Path) -> None:
    out = written(tmp_path / "out.jsonl", [own(1, note=ODD), own(2)], tail="{")
    whole = out.read_bytes()
    assert all(whole[offset : offset + len(line)] == line for offset, line in lines(out))


def test_columns_of_csv(tmp_path: Path) -> None:
    answer = answered(("base", "One, two"), ("nudger", ' "three"\nfour'), seconds=3.25, first=None)
    carried = {"id": "q1", "tags": ["a", "ü"], "price": 2.5, "seconds": 9, "text": "theirs", "good": True, "none": None}
    out = written(tmp_path / "out.jsonl", [failed(2, extra=ODD), own(1, answer, cost=0.0015, **carried)])
    export(out, tmp_path / "to.csv")
    first, second = read_csv(tmp_path / "to.csv")
    assert list(first) == [
        "row", "sample", "id", "prompt", "extra", "tags", "price", "input_seconds", "input_text", "good", "none",
        "text", "finish_reason", "plan", "answer_tokens", "nudged_tokens", "nudge_ratio", "rounds", "verified_tokens",
        "seconds", "first_token_seconds",
        "base_requests", "base_prompt_tokens", "base_cached_tokens", "base_completion_tokens", "base_discarded_tokens",
        "nudger_requests", "nudger_prompt_tokens", "nudger_cached_tokens", "nudger_completion_tokens", "nudger_discarded_tokens",
        "cost", "error_kind", "error_message",
    ]  # fmt: skip
    assert first | {"x": ""} == {
        "row": "1", "sample": "0", "id": "q1", "prompt": "Question 1?", "extra": "", "tags": '["a", "ü"]', "price": "2.5",
        "input_seconds": "9", "input_text": "theirs", "good": "true", "none": "",
        "text": 'One, two "three"\nfour', "finish_reason": "stop", "plan": "streaming", "answer_tokens": "4",
        "nudged_tokens": "2", "nudge_ratio": "0.5", "rounds": "2", "verified_tokens": "1", "seconds": "3.25",
        "first_token_seconds": "", "base_requests": "2", "base_prompt_tokens": "40", "base_cached_tokens": "20",
        "base_completion_tokens": "8", "base_discarded_tokens": "6", "nudger_requests": "1", "nudger_prompt_tokens": "30",
        "nudger_cached_tokens": "0", "nudger_completion_tokens": "11", "nudger_discarded_tokens": "9", "cost": "0.0015",
        "error_kind": "", "error_message": "", "x": "",
    }  # fmt: skip
    assert second["extra"] == ODD
    assert (second["error_kind"], second["error_message"]) == ("rate limited", "the server is busy; try later")
    assert (second["id"], second["text"], second["seconds"], second["base_requests"]) == ("2", "", "", "")


def test_columns_of_parquet_have_types(tmp_path: Path) -> None:
    rows = [
        own(1, id="a", whole=1, mixed=1, real=1, good=True, huge=1, listed=[1], none=None, cost=0.5),
        own(2, id=7, whole=-3, mixed="x", real=2.5, good=False, huge=2**70, listed={"ü": 2}, none=None),
        failed(3, real=2**60 + 1),
    ]
    export(written(tmp_path / "out.jsonl", rows), tmp_path / "to.parquet")
    table = parquet.read_table(tmp_path / "to.parquet")
    types = {field.name: field.type for field in table.schema}
    assert [types[name] for name in ("whole", "real", "good", "seconds", "base_requests", "row")] == [
        pyarrow.int64(), pyarrow.float64(), pyarrow.bool_(), pyarrow.float64(), pyarrow.int64(), pyarrow.int64(),
    ]  # fmt: skip
    found = table.to_pydict()
    assert found["id"] == ["a", "7", "3"]
    assert found["whole"] == [1, -3, None]
    assert found["mixed"] == ["1", "x", None]
    assert found["real"] == [1.0, 2.5, float(2**60)]
    assert found["huge"] == ["1", str(2**70), None]
    assert found["listed"] == ["[1]", '{"ü": 2}', None]
    assert found["none"] == [None] * 3
    assert found["cost"] == [0.5, None, None]
    assert found["text"][0] == "Eat a balanced diet: whole grains, fruit and water."
    assert found["text"][2] is None


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_openai_records_become_the_same_columns(tmp_path: Path, form: str) -> None:
    rows = [
        openai(2),
        openai(1, answered(("nudger", "Yes")), sample=1, cost=0.25),
        openai(1, answered(("base", "No")), sample=0),
    ]
    to = tmp_path / f"to.{form}"
    assert export(written(tmp_path / "out.jsonl", rows), to) == Exported(3, 1)
    no, yes, broken = read_back(to)
    assert (no["id"], no["text"]) == ("request-1", "No")
    assert (yes["text"], float(yes["cost"]), float(yes["nudge_ratio"])) == ("Yes", 0.25, 1.0)
    assert (broken["id"], broken["error_kind"], broken["error_message"]) == ("request-2", "timeout", "too slow")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path, form: str) -> None:
    out = tmp_path / "out.jsonl"
    record = own(1, answered(("base", "a\ud83d b")), **{"n\ud800": ["\ud800"]})
    out.write_text(json.dumps(record) + "\n", "ascii")
    export(out, tmp_path / f"to.{form}")
    (row,) = read_back(tmp_path / f"to.{form}")
    assert (row["text"], row["n?"]) == ("a? b", '["?"]')


@pytest.mark.parametrize("form", FORMS)
def test_an_output_without_records(tmp_path: Path, form: str) -> None:
    out = written(tmp_path / "out.jsonl", [], tail='{"row"')
    assert export(out, tmp_path / f"to.{form}") == Exported(0, 0)
    assert read_back(tmp_path / f"to.{form}") == []


@pytest.mark.parametrize(
    "line",
    [
        "not JSON", "[]", "3", "", "{}", '{"row": 1}', '{"row": -1, "error": {}}', '{"row": 1, "error": 5}', "\ufeff{}",
        '{"row": 99999999999999999999, "error": {}}', '{"row": 1, "sample": "0", "error": {}}', '{"id": "batch_req_1"}',
        '{"id": "batch_req_1", "custom_id": 1, "response": {"body": {}}}',
        '{"id": "batch_req_1", "custom_id": 1, "response": {"body": {"nudge": null}}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str) -> None:
    out = written(tmp_path / "out.jsonl", [own(1)], tail=line + "\n")
    with pytest.raises(UsageError, match=r"out\.jsonl, line 2: it is no record of a batch job: ") as caught:
        export(out, tmp_path / "to.csv")
    assert len(str(caught.value)) < 300 + len(str(out))
    assert names(tmp_path) == ["out.jsonl"]


@pytest.mark.parametrize("name", ["text", "stats", "segments", "finish_reason", "plan"])
@pytest.mark.parametrize("value", [None, 5, "x", [1], {"x": 1}, [{"author": "me", "text": "x"}]])
def test_an_answer_object_is_checked(tmp_path: Path, name: str, value: Any) -> None:
    if isinstance(value, str) and name in ("text", "finish_reason", "plan"):
        return
    out = written(tmp_path / "out.jsonl", [own(1) | {name: value}])
    with pytest.raises(UsageError, match=r"out\.jsonl, line 1: "):
        list(records(out))


@pytest.mark.parametrize("name", ["answer_tokens", "nudge_ratio", "seconds", "first_token_seconds", "base", "nudger"])
@pytest.mark.parametrize("value", ["x", float("nan"), float("inf"), -1, 10**400, {"requests": 1.5}])
def test_figures_are_checked(tmp_path: Path, name: str, value: Any) -> None:
    record = own(1)
    record["stats"] |= {name: value}
    with pytest.raises(UsageError, match=r"out\.jsonl, line 1: "):
        list(records(written(tmp_path / "out.jsonl", [record])))


def test_what_the_form_is(tmp_path: Path) -> None:
    out = written(tmp_path / "out.jsonl", [own(1)])
    export(out, tmp_path / "to.txt", form="csv")
    assert read_csv(tmp_path / "to.txt")[0]["row"] == "1"
    export(out, tmp_path / "to.CSV")
    for to, form in (("to.xlsx", None), ("to", None), ("to.csv", "xml")):
        with pytest.raises(UsageError, match="jsonl, csv, parquet"):
            export(out, tmp_path / to, form=form)


def test_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'nudge-client\[parquet\]'"):
        export(tmp_path / "not there", tmp_path / "to.parquet")


def test_no_file_is_replaced_unasked(tmp_path: Path) -> None:
    out = written(tmp_path / "out.jsonl", [own(1)])
    before = out.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(out)
    (tmp_path / "hard.jsonl").hardlink_to(out)
    for name in ("out.jsonl", "link.jsonl", "hard.jsonl"):
        with pytest.raises(UsageError, match="own output"):
            export(out, tmp_path / name, force=True)
    (tmp_path / "to.csv").write_text("precious")
    with pytest.raises(UsageError, match="--force"):
        export(out, tmp_path / "to.csv")
    assert (tmp_path / "to.csv").read_text() == "precious"
    export(out, tmp_path / "to.csv", force=True)
    assert "precious" not in (tmp_path / "to.csv").read_text()
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match="no file"):
        export(out, tmp_path / "pipe.csv", force=True)
    assert out.read_bytes() == before


def test_of_a_link_the_target_is_replaced(tmp_path: Path) -> None:
    out = written(tmp_path / "out.jsonl", [own(1)])
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real.csv").write_text("old")
    (tmp_path / "to.csv").symlink_to(tmp_path / "there" / "real.csv")
    export(out, tmp_path / "to.csv", force=True)
    assert (tmp_path / "to.csv").is_symlink()
    assert len(read_csv(tmp_path / "there" / "real.csv")) == 1


def test_the_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    out = written(tmp_path / "out.jsonl", [own(1)])
    export(out, tmp_path / "to.csv")
    assert stat.S_IMODE((tmp_path / "to.csv").stat().st_mode) == stat.S_IMODE(out.stat().st_mode)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", [KeyboardInterrupt, OSError])
def test_an_export_that_breaks_off_leaves_nothing(
    tmp_path: Path, form: str, ending: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = written(tmp_path / "out.jsonl", [own(number) for number in range(1, 50)])
    to = tmp_path / f"to.{form}"
    to.write_text("old")
    whole = module._lines

    def breaks(*given: Any) -> Iterator[bytes]:
        for number, line in enumerate(whole(*given)):
            if number == 30:
                raise ending
            yield line

    with monkeypatch.context() as patch:
        patch.setattr(module, "_lines", breaks)
        with pytest.raises(ending):
            export(out, to, force=True)
    assert to.read_text() == "old"
    assert names(tmp_path) == ["out.jsonl", to.name]
    assert export(out, to, force=True).records == 49
    assert len(read_back(to)) == 49


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk(tmp_path: Path, form: str) -> None:
    out = written(tmp_path / "out.jsonl", [own(number, note=os.urandom(500).hex()) for number in range(1, 200)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            export(out, tmp_path / f"to.{form}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["out.jsonl"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    out = written(tmp_path / "out.jsonl", [own(1)])
    with pytest.raises(FileNotFoundError):
        export(out, tmp_path / "nowhere" / "to.csv")
    with pytest.raises(FileNotFoundError):
        export(tmp_path / "missing.jsonl", tmp_path / "to.csv")


def test_order_over_many_runs() -> None:
    order = InputOrder()
    count = 3 * RUN + 17
    keys = [(place * 7919 % count, place % 3) for place in range(count)]
    for place, (row, sample) in enumerate(keys):
        order.add(row, sample, place)
    assert [keys[place] for place in order.offsets()] == sorted(keys)


def peak(path: Path, rows: int, to: Path) -> int:
    """Bytes of memory that an export of `rows` records of some 2 kB takes at most."""
    line = json.dumps(own(1, answered(*[("base", " one more word of the answer")] * 15), note="n" * 100))
    before, after = line.split('"row": 1,')
    with path.open("w") as file:
        file.writelines(f'{before}"row": {rows - number},{after}\n' for number in range(rows))
    assert 1800 < path.stat().st_size / rows < 2600
    tracemalloc.start()
    export(path, to, force=True)
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.parametrize(("form", "rows"), [("jsonl", 100_000), ("csv", 20_000)])
def test_memory_holds_no_texts(tmp_path: Path, form: str, rows: int) -> None:
    few, many = (peak(tmp_path / "out.jsonl", count, tmp_path / f"to.{form}") for count in (1000, rows))
    run = 150 * RUN  # its objects, while it is sorted
    assert many - few < run + 28 * rows  # 24 of the order, and its room to grow


def test_memory_of_parquet_holds_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 1 << 20)
    few, many = (peak(tmp_path / "out.jsonl", rows, tmp_path / "to.parquet") for rows in (1000, 10_000))
    assert few > 1 << 20
    assert many - few < 1 << 20
    assert parquet.ParquetFile(tmp_path / "to.parquet").metadata.num_row_groups > 10
