"""Prompts made of a row's fields: `Question: {question}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from nudge_providers.errors import UsageError, printable
from nudge_providers.parsing import is_text


@dataclass(frozen=True, slots=True)
class Template:
    """A template that was read. parts: a text, then the name of the field that follows it, None at the end."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that it names."""
        return tuple(name for _, name in self.parts if name is not None)

    def fill(self, fields: Mapping[str, Any]) -> str:
        """The prompt: strings as they are, other values as JSON. Raises UsageError when the row lacks a field."""
        texts = []
        for text, name in self.parts:
            texts.append(text)
            if name is not None:
                texts.append(self._value(fields, name))
        return "".join(texts)

    def _value(self, fields: Mapping[str, Any], name: str) -> str:
        if name not in fields:
            raise UsageError(f"it has no {name!r}, which the template names; it has: {', '.join(fields) or 'nothing'}")
        value = fields[name]
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_template(text: str) -> Template:
    """`text` with names of fields in braces; `{{` and `}}` are braces. What a field holds is never read as a template.

    Raises UsageError for anything else that `str.format` knows, and for a template that names no field.
    """
    where = f"template {printable(text, 60)!r}"
    if not is_text(text):
        raise UsageError(f"{where}: it holds what is no character (undecodable bytes)")
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise UsageError(f"{where}: {error}; a brace that is text is written twice") from None
    for _, name, form, conversion in parsed:
        if name is not None and (form or conversion or not name or name.isdigit() or set(name) & set(".[]")):
            shown = printable(name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else ""), 60)
            raise UsageError(f"{where}: {{{shown}}} is not the name of a field; only names such as {{question}} can be")
    template = Template(tuple((literal, name) for literal, name, _, _ in parsed))
    if not template.names:
        raise UsageError(f"{where}: it names no field of a row; a field is written {{question}}")
    return template
