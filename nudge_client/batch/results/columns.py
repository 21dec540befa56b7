"""A record as one flat row of a table. Which columns there are is known when every record has been seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

from nudge_client.batch.records import Record
from nudge_client.batch.results.output_rows import MODEL_STATS

Kind = Literal["whole", "number", "truth", "text"]

LEADING: dict[str, Kind] = {"row": "whole", "sample": "whole"}
TRAILING: dict[str, Kind] = {
    "text": "text",
    "finish_reason": "text",
    "plan": "text",
    "answer_tokens": "whole",
    "nudged_tokens": "whole",
    "nudge_ratio": "number",
    "rounds": "whole",
    "verified_tokens": "whole",
    "seconds": "number",
    "first_token_seconds": "number",
    **{f"{author}_{name}": "whole" for author in ("base", "nudger") for name in MODEL_STATS},
    "cost": "number",
    "error_kind": "text",
    "error_message": "text",
}


class Columns:
    """The columns of a table of records: row, sample, id, the carried fields, then what became of them.

    A carried field with the name of another column is called `input_NAME`. A column is of numbers or of truth values
    where every value is; any other is text, and what is no text stands there as JSON.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}  # of carried fields: the column's, by the field's
        self._seen: dict[str, set[Kind]] = {"id": set()}

    def see(self, record: Record) -> None:
        """Take note of what the record carries. Every record must be seen before any is given to `row`."""
        self._note("id", record.id)
        for name, value in record.fields.items():
            if name not in self._names:
                self._names[name] = self._free(name)
            self._note(self._names[name], value)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The columns in order, and what each holds."""
        return LEADING | {name: _common(seen) for name, seen in self._seen.items()} | TRAILING

    def row(self, record: Record) -> Iterator[Any]:
        """The cells of a record, in the order of `kinds`; None where there is nothing."""
        found = {self._names[name]: value for name, value in record.fields.items()}
        found |= {"row": record.row, "sample": record.sample, "id": record.id} | _result(record)
        return (_cell(found.get(name), kind) for name, kind in self.kinds.items())

    def _free(self, name: str) -> str:
        column = _writable(name)
        while column in self._seen or column in LEADING or column in TRAILING:
            column = f"input_{column}"
        return column

    def _note(self, column: str, value: Any) -> None:
        kinds = self._seen.setdefault(column, set())
        if value is not None:
            kinds.add(_kind(value))


def as_text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return _writable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cell(value: Any, kind: Kind) -> Any:
    if value is None or kind in ("whole", "truth"):
        return value
    return float(value) if kind == "number" else as_text(value)


def _writable(text: str) -> str:
    """Half a surrogate pair, which JSON can spell, is no character that UTF-8 could write."""
    return text.encode("utf-8", "replace").decode()


def _kind(value: Any) -> Kind:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if -(2**63) <= value < 2**63 else "text"
    return "number" if isinstance(value, float) else "text"


def _common(seen: set[Kind]) -> Kind:
    if seen == {"whole", "number"}:
        return "number"
    return next(iter(seen)) if len(seen) == 1 else "text"


def _result(record: Record) -> dict[str, Any]:
    """What became of the record: its answer and figures, or its error."""
    if record.answer is None:
        error = record.error or {}
        return {"error_kind": error.get("kind"), "error_message": error.get("message")}
    answer, stats = record.answer, record.answer["stats"]
    models = {f"{author}_{name}": stats[author][name] for author in ("base", "nudger") for name in MODEL_STATS}
    return {name: answer.get(name, stats.get(name)) for name in TRAILING} | models | {"cost": record.cost}
