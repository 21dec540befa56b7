"""The method as the settings ask for it: the decoder with its rules, and the prompts of the paper's preset."""

from __future__ import annotations

from nudge_client.counting import count_cl100k
from nudge_client.decoding import Holdback, PaperRules, Rules, Steps, decode, decode_paper
from nudge_client.planning import PAPER_CHUNK
from nudge_client.prompts import PAPER, BasePrompt, base_prompt
from nudge_client.settings import Settings
from nudge_providers.errors import UsageError
from nudge_providers.types import Message


def asked(messages: list[Message], settings: Settings) -> tuple[list[Message], BasePrompt]:
    """The conversation that the nudging model is shown, and the base model's prompt but for its BOS.

    Raises UsageError when the form does not suit the conversation.
    """
    if settings.preset == "paper":
        return paper_prompts(messages, settings)
    return messages, base_prompt(messages, settings.form, settings.answer_start)


def paper_prompts(messages: list[Message], settings: Settings) -> tuple[list[Message], BasePrompt]:
    """Both models get the paper's system prompt, and the question under its label."""
    form = "question" if settings.form == "auto" else settings.form
    if form not in PAPER:
        raise UsageError(f"the paper's prompts are 'question' and 'instruction', not {form!r}")
    base = base_prompt(messages, form, settings.answer_start)
    heading = PAPER[form]
    system = messages[0].content if messages[0].role == "system" else heading.system
    return [Message("system", system), Message("user", heading.label + messages[-1].content)], base


def decoder_of(settings: Settings, base_stop: tuple[str, ...]) -> tuple[Steps[None], Steps[None] | None, Holdback]:
    """The decoder, its scout where the plan may use one, and what holds back text that may yet change."""
    if settings.preset == "paper":
        paper = PaperRules(
            count=count_cl100k,
            threshold=settings.threshold,
            chunk=settings.chunk or PAPER_CHUNK,
            draft_tokens=settings.draft,
            max_tokens=settings.max_tokens,
            max_rounds=settings.max_rounds,
        )
        return decode_paper(paper), None, Holdback(hold_words=False)
    rules = Rules(
        threshold=settings.threshold,
        draft_tokens=settings.draft,
        max_tokens=settings.max_tokens,
        max_rounds=settings.max_rounds,
        boundary=settings.boundary,
        ending=settings.ending,
        segmentation=settings.segmentation,
        stop=settings.stop,
        base_stop=base_stop,
    )
    return decode(rules), decode(rules, hasty=True), Holdback(rules.stop, rules.base_stop, rules.segmentation)
