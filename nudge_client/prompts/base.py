"""How a base model is asked. A form is the text before the answer, and the strings at which the model has run on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nudge_providers.errors import UsageError
from nudge_providers.types import Message

Form = Literal["auto", "question", "instruction", "plain", "transcript"]
FORMS: tuple[Form, ...] = ("auto", "question", "instruction", "plain", "transcript")


@dataclass(frozen=True, slots=True)
class BasePrompt:
    """`text` is what the answer is joined to; a `stop` string in the answer ends a run of the base model."""

    text: str
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """One of the paper's two prompts (appendix; ALGORITHM: the `paper` preset)."""

    system: str
    label: str


PAPER = {
    "question": Heading("Answer the question by walking through the reasoning steps.", "Question: "),
    "instruction": Heading("You are a helpful assistant.", "Instruction: "),
}


def base_prompt(messages: Sequence[Message], form: Form = "auto", answer_start: str = "") -> BasePrompt:
    """The base model's prompt for a conversation that ends with a user message.

    form: `question` and `instruction` are the paper's, for one question; `plain` is the user's text alone, to be gone
    on with; `transcript` writes out all turns. `auto` is `instruction` for one turn and `transcript` for more.
    answer_start: put at the end of the prompt, after a newline; not part of the answer.
    Raises UsageError when a form for one question meets several turns.
    """
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    turns = [message for message in messages if message.role != "system"]
    if form == "auto":
        form = "instruction" if len(turns) == 1 else "transcript"
    if form == "transcript":
        return _transcript(system, turns, answer_start)
    if len(turns) != 1:
        raise UsageError(f"form {form!r} is for one question, and there are {len(turns)} turns; use form 'transcript'")
    text = turns[0].content
    if form == "plain":
        return BasePrompt("\n\n".join(filter(None, [system, text])) + "\n\n" + answer_start, ())
    heading = PAPER[form]
    # The paper joins system, question and answer start by newlines, an empty answer start included.
    whole = "\n".join([system or heading.system, heading.label + text, answer_start])
    return BasePrompt(whole, (f"\n{heading.label.strip()}",))


def _transcript(system: str, turns: Sequence[Message], answer_start: str) -> BasePrompt:
    names = {"user": "User", "assistant": "Assistant"}
    lines = [system or "A conversation between a user and a helpful assistant."]
    lines += [f"{names[turn.role]}: {turn.content}" for turn in turns]
    # No space after the colon: a prompt that ends in one makes a model tokenize the rest differently.
    return BasePrompt(
        "\n\n".join([*lines, "Assistant:"]) + (answer_start and f"\n{answer_start}"), ("\nUser:", "\nAssistant:")
    )
