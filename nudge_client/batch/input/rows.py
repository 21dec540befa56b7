"""A row of the input: what is asked, under which name, and what is carried through to the output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nudge_client.prompts import Prompt

Format = Literal["jsonl", "openai", "csv", "parquet"]


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be answered.

    number: its place in the input, from 1: of a text file with a record a line, the line. id: the row's own, else the
    number. fields: the row as it was read, carried through. options: settings that this row asks for itself.
    """

    number: int
    id: str | int
    prompt: Prompt
    fields: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be answered. problem: where, what, and how to mend it. id: None where it cannot be read."""

    number: int
    id: str | int | None
    problem: str
    fields: Mapping[str, Any] = field(default_factory=dict)
