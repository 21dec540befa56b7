"""Prompts made of a row's fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from nudge_client.batch.input.reading import read_rows
from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.input.templates import read_template
from nudge_providers.errors import UsageError


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{q}", "Why?"),
        ("Question: {q}\nAnswer:", "Question: Why?\nAnswer:"),
        ("{{q}} {q}{q} {{}}", "{q} Why?Why? {}"),
        ("{my column}{größe}", "1null"),
        ("{braces}", "{q} {0} {"),
        ("{list}", '["ä", {"a": 1.5}]'),
        ("{true}", "true"),
    ],
)
def test_fields_are_put_in(template: str, prompt: str) -> None:
    fields = {
        "q": "Why?",
        "my column": 1,
        "größe": None,
        "braces": "{q} {0} {",
        "list": ["ä", {"a": 1.5}],
        "true": True,
    }
    assert read_template(template).fill(fields) == prompt


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("", "names no field"),
        ("{{question}}", "names no field"),
        ("{}", "{} is not the name of a field"),
        ("{0}", "{0} is not"),
        ("{a.b}", "{a.b} is not"),
        ("{a[0]}", "{a[0]} is not"),
        ("{a.__class__}", "is not the name"),
        ("{a!r}", "{a!r} is not"),
        ("{a!x}", "{a!x} is not"),
        ("{a:>{b}}", "{a:>{b}} is not"),
        ("{a", "a brace that is text is written twice"),
        ("a}", "a brace that is text is written twice"),
        ("{a!}", "a brace that is text is written twice"),
        ("\udc80{a}", "what is no character"),
    ],
)
def test_anything_else_is_refused(template: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read_rows(tmp_path / "none.jsonl", "jsonl", template=template)
    assert said in str(error.value)


def test_a_row_that_lacks_a_field_is_bad_and_its_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"q": "Why?", "id": 7, "system": "Be brief."}\n{"id": 8, "answer": 1}\n{"q": "", "prompt": "Hi"}\n'
    )
    good, lacking, empty = read_rows(path, "jsonl", template="{q}")
    assert isinstance(good, Row)
    assert good.prompt == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert lacking == BadRow(
        2, 8, "line 2: it has no 'q', which the template names; it has: id, answer", {"id": 8, "answer": 1}
    )
    assert isinstance(empty, BadRow)
    assert empty.problem == "line 3: the prompt is empty"
