"""Output rows of jobs, as a job writes them: from answers built in code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nudge_client.answer import Answer, ModelStats, Segment, Stats
from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.records import openai_record, own_record
from nudge_client.decoding import Author, FinishReason


def answered(
    *pieces: tuple[Author, str], seconds: float = 2.5, finish: FinishReason = "stop", first: float | None = 0.25
) -> Answer:
    """An answer of these pieces, a token a word."""
    words = {author: sum(len(text.split()) for by, text in pieces if by == author) for author in ("base", "nudger")}
    total = sum(words.values())
    stats = Stats(
        rounds=len(pieces),
        nudge_ratio=round(words["nudger"] / total, 4) if total else 0.0,
        answer_tokens=total,
        nudged_tokens=words["nudger"],
        verified_tokens=total // 4,
        base=ModelStats(len(pieces), 20 * len(pieces), 10 * len(pieces), words["base"] + 6, 6),
        nudger=ModelStats(len(pieces) // 2, 15 * len(pieces), 0, words["nudger"] + 9, 9),
        seconds=seconds,
        first_token_seconds=first,
    )
    segments = tuple(Segment(author, text) for author, text in pieces)
    return Answer("".join(text for _, text in pieces), finish, "streaming", segments, stats, "both can stream")


TIP: tuple[tuple[Author, str], ...] = (
    ("base", "Eat"), ("nudger", " a"), ("base", " balanced diet:"), ("nudger", " whole grains, fruit"), ("base", " and water."),
)  # fmt: skip


def row(number: int, **fields: Any) -> Row:
    given = {"prompt": f"Question {number}?"} | fields
    return Row(number, given.get("id", number), given["prompt"], given)


def own(
    number: int, answer: Answer | None = None, sample: int | None = None, cost: float | None = None, **fields: Any
) -> dict[str, Any]:
    """A record in the project's own shape; `answered(*TIP)` unless another answer is given."""
    return own_record(row(number, **fields), sample, answer or answered(*TIP), None, cost)


def failed(
    number: int, kind: str = "rate limited", message: str = "the server is busy; try later", **fields: Any
) -> dict[str, Any]:
    return own_record(row(number, **fields), None, None, {"kind": kind, "message": message}, None)


def unread(number: int) -> dict[str, Any]:
    """A row that could not be read at all."""
    return own_record(BadRow(number, None, "not JSON"), None, None, {"kind": "bad row", "message": "not JSON"}, None)


def openai(
    number: int, answer: Answer | None = None, sample: int | None = None, cost: float | None = None
) -> dict[str, Any]:
    """A record in the OpenAI Batch format; a failure without an answer."""
    body = {"model": "pair", "messages": [{"role": "user", "content": "Hi"}]}
    asked = Row(
        number,
        f"request-{number}",
        "Hi",
        {"custom_id": f"request-{number}", "url": "/v1/chat/completions", "body": body},
    )
    return openai_record(asked, sample, answer, None if answer else {"kind": "timeout", "message": "too slow"}, cost)


def written(path: Path, records: Iterable[dict[str, Any]], tail: str = "") -> Path:
    """The output file with these records; tail: what a kill left of a line."""
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records) + tail, "utf-8")
    return path
