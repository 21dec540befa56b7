"""A row of the output: one JSON object a line, in this project's own shape or in that of the OpenAI Batch format.

Own: `{"row": 3, "id": "q3", …the input's fields…, …the answer object…}`, `sample` where there are several of a row,
`cost` in dollars where prices are set, and for a failure `"error": {"kind", "message"}` in place of the answer.
An input field whose name the output needs itself is carried through as `input_NAME`.

OpenAI's (its Batch guide and API reference): `{"id", "custom_id", "response": {"status_code", "request_id", "body"},
"error"}`. Its id ends with the row's number; the body is a chat completion or completion, and has the answer object in
`nudge`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nudge_client.answer import Answer
from nudge_client.batch.input.rows import BadRow, Row

OWN_FIELDS = {"row", "sample", "id", "cost", "error", *(field.name for field in fields(Answer))}
OPENAI_ID = re.compile(r"batch_req_(\d+)(?:_(\d+))?")
FINISH = {"stop": "stop"}  # every other reason ended the answer before its end


@dataclass(frozen=True, slots=True)
class Record:
    """An output row as it was read back. answer: the answer object, None for a failure. error: kind and message."""

    row: int
    sample: int
    id: str | int | None
    fields: Mapping[str, Any]
    answer: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    cost: float | None = None


def own_record(
    row: Row | BadRow, sample: int | None, answer: Answer | None, error: Mapping[str, Any] | None, cost: float | None
) -> dict[str, Any]:
    """The output row. sample: from 0, None where there is one of each row."""
    record: dict[str, Any] = {"row": row.number}
    if sample is not None:
        record["sample"] = sample
    if answer is None:  # where it is soon found
        record["error"] = dict(error or {})
    record["id"] = row.id
    for name, value in row.fields.items():
        if name != "id":
            record[f"input_{name}" if name in OWN_FIELDS else name] = value
    if answer is not None:
        record |= answer.to_dict()
    if cost is not None:
        record["cost"] = round(cost, 9)
    return record


def openai_record(
    row: Row | BadRow, sample: int | None, answer: Answer | None, error: Mapping[str, Any] | None, cost: float | None
) -> dict[str, Any]:
    """The same in the OpenAI Batch format."""
    name = f"batch_req_{row.number}" + ("" if sample is None else f"_{sample}")
    record: dict[str, Any] = {"id": name, "custom_id": row.id, "response": None, "error": None}
    if answer is None:
        told = error or {}
        record["error"] = {"code": told.get("kind"), "message": told.get("message")}
        return record
    record["response"] = {"status_code": 200, "request_id": name, "body": _body(row, name, answer, cost)}
    return record


def read_record(record: Mapping[str, Any]) -> Record:
    """An output row of either shape. Raises ValueError when it is neither."""
    if isinstance(record.get("row"), int):
        return _own(record)
    found = OPENAI_ID.fullmatch(str(record.get("id")))
    if not found or "custom_id" not in record:
        raise ValueError("it is no output row")
    answer = cost = error = None
    if record.get("response"):
        answer = record["response"]["body"]["nudge"]
        cost = answer.get("cost")
    else:
        told = record.get("error") or {}
        error = {"kind": told.get("code"), "message": told.get("message")}
    return Record(int(found[1]), int(found[2] or 0), record["custom_id"], {}, answer, error, cost)


def _own(record: Mapping[str, Any]) -> Record:
    error = record.get("error")
    answer = None if error is not None else {f.name: record[f.name] for f in fields(Answer) if f.name in record}
    carried = {name: value for name, value in record.items() if name not in OWN_FIELDS}
    return Record(record["row"], record.get("sample", 0), record.get("id"), carried, answer, error, record.get("cost"))


def _body(row: Row | BadRow, name: str, answer: Answer, cost: float | None) -> dict[str, Any]:
    asked = row.fields.get("body")
    model = asked.get("model") if isinstance(asked, Mapping) else None
    finish = FINISH.get(answer.finish_reason, "length")
    stats = answer.stats
    prompt = stats.base.prompt_tokens + stats.nudger.prompt_tokens
    completion = stats.base.completion_tokens + stats.nudger.completion_tokens
    chat = not str(row.fields.get("url", "")).endswith("/v1/completions")
    said = {"message": {"role": "assistant", "content": answer.text}} if chat else {"text": answer.text}
    return {
        "id": name,
        "object": "chat.completion" if chat else "text_completion",
        "model": model or "nudge",
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
        "nudge": answer.to_dict() | ({} if cost is None else {"cost": round(cost, 9)}),
    }
