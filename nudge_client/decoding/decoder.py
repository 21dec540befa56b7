"""The default decoder: the rules of nudging, reading like the algorithm. No I/O, no clock, no provider.

Invariants: every round appends at least one word of the nudger or finishes; the events joined are the answer; nothing
here depends on how a token arrived, only on what the models say after a text.
"""

from __future__ import annotations

from collections import deque

from nudge_client.decoding.events import Ask, Finish, FinishReason, Hint, OutOfRoom, Reason, Round, Steps
from nudge_client.decoding.growing import Draft, Growing
from nudge_client.decoding.rules import Rules
from nudge_client.decoding.text import last_word_start, starts_word, whole_words
from nudge_providers.types import Token

EXTENSION = 4  # a first word cut by the draft's limit is asked on for, up to 4 × draft_tokens
SAME_NUDGE_ROUNDS = 4


def decode(rules: Rules, *, hasty: bool = False) -> Steps[None]:
    """Write one answer. Yields events (see `events`); is sent a `Token` or an `End` for each `Ask`.

    hasty: uses a draft's first word as soon as it is whole, as if no draft ever ended. Such a decoder only scouts: what
    it asks, the decoder that knows how the drafts end will ask soon after.
    """
    answer = Growing(rules)
    nudges: deque[str] = deque(maxlen=SAME_NUDGE_ROUNDS)
    finish: FinishReason | None = None
    number = 0
    while finish is None:
        if answer.full:
            finish = "length"
        elif number == rules.max_rounds:
            finish = "rounds"
        else:
            number += 1
            yield Round(number)
            try:
                finish = yield from _round(answer, nudges, hasty)
            except OutOfRoom:
                finish = "length"
    yield Finish(finish)


def _round(answer: Growing, nudges: deque[str], hasty: bool) -> Steps[FinishReason | None]:
    rules = answer.rules
    yield Hint("nudger", answer.text)
    draft = yield from _draft(answer, hasty)
    if draft.ended and not draft.tokens:
        return "stop"
    claimed = yield from answer.claim_last_word(draft.text)
    if draft.ended and rules.ending == "draft" and not hasty:
        return (yield from answer.append_nudge(draft, 0, len(draft.text), "ending")) or "stop"
    if not hasty:
        yield from _foretell(answer, draft.text)

    begin = len(answer.text) - claimed
    finish, first = yield from _nudge(answer, draft, hasty)
    if finish:
        return finish
    nudges.append(answer.text[begin:])
    if len(nudges) == SAME_NUDGE_ROUNDS and len(set(nudges)) == 1:
        return "repeated_nudge"
    if first is None:
        return None
    return (yield from _base_writes(answer, *first))


def _draft(answer: Growing, hasty: bool) -> Steps[Draft]:
    """Rule 1, and of rule 2 the extension: a draft holds one whole word, an ending, or as much as may be asked for."""
    rules = answer.rules
    draft = Draft(answer.text)
    while len(draft.tokens) < rules.draft_tokens and not draft.ended:
        if hasty and _words(draft, rules):
            return draft
        yield from _ask_on(draft, rules.draft_tokens)
    limit = EXTENSION * rules.draft_tokens
    while not draft.ended and not _words(draft, rules) and len(draft.tokens) < limit:
        yield from _ask_on(draft, limit)
        if draft.ended:
            # An end that only the extension saw is found again, at no cost, by the round that begins there.
            return Draft(draft.before, draft.tokens)
    return draft


def _ask_on(draft: Draft, limit: int) -> Steps[None]:
    """One more token of the draft, or its end."""
    token = yield Ask("nudger", draft.before + draft.text, limit - len(draft.tokens))
    if isinstance(token, Token):
        draft.tokens.append(token)
    else:
        draft.ended = True


def _foretell(answer: Growing, draft: str) -> Steps[None]:
    """Hint at the look after a draft's first word, and at what the nudger would write after it."""
    words = whole_words(draft, False, answer.rules.segmentation)
    if words:
        yield Hint("base", answer.text + words[0], draft[len(words[0]) :])


def _words(draft: Draft, rules: Rules) -> list[str]:
    return whole_words(draft.text, draft.ended, rules.segmentation)


def _nudge(
    answer: Growing, draft: Draft, hasty: bool
) -> Steps[tuple[FinishReason | None, tuple[Token, Reason] | None]]:
    """Rules 2 and 3: append words of the draft until the base model takes over or no usable word is left.

    The second value is the base model's first token with the reason it is accepted, or None for a new round.
    """
    rules = answer.rules
    # Without a whole word even after the extension, the draft is appended as it is.
    word = (yield from _word(draft, 0, rules, hasty)) or draft.text
    start = index = 0
    while word:
        finish = yield from answer.append_nudge(draft, start, start + len(word), "carry" if index else "nudge")
        if finish or answer.full:
            return finish or "length", None
        start, index = start + len(word), index + 1
        token = yield Ask("base", answer.text, rules.max_tokens - answer.tokens)
        if not isinstance(token, Token):
            return None, None
        takes_over = rules.boundary != "word" or starts_word(answer.text, token.text, rules.segmentation)
        if takes_over and token.top_probability >= rules.threshold:
            return None, (token, "confident")
        word = yield from _word(draft, index, rules, hasty)
        if takes_over and word.startswith(token.text):
            return None, (token, "agreement")
    return None, None


def _word(draft: Draft, index: int, rules: Rules, hasty: bool) -> Steps[str]:
    """The draft's word of this number, "" when it has none. A hasty draft may not have been read that far."""
    words = _words(draft, rules)
    while hasty and index >= len(words) and not draft.ended and len(draft.tokens) < rules.draft_tokens:
        yield from _ask_on(draft, rules.draft_tokens)
        words = _words(draft, rules)
    return words[index] if index < len(words) else ""


def _base_writes(answer: Growing, token: Token, reason: Reason) -> Steps[FinishReason | None]:
    """Rule 4: base tokens until a cut, an end, a stop string or a limit."""
    rules = answer.rules
    begin = len(answer.text)
    while True:
        finish = yield from answer.append_base(token, reason, begin)
        if finish == "base_stop":
            break
        if finish:
            return finish
        if answer.full:
            return "length"
        reply = yield Ask("base", answer.text, rules.max_tokens - answer.tokens)
        if not isinstance(reply, Token):
            break
        token, reason = reply, "confident"
        if token.top_probability < rules.threshold:
            inside = not starts_word(answer.text, token.text, rules.segmentation)
            if rules.boundary == "rollback" and inside:
                start = last_word_start(answer.text, begin, rules.segmentation)
                start += len(answer.text[start:]) - len(answer.text[start:].lstrip())
                yield from answer.retract_to(start, "rollback")
            if rules.boundary != "word" or not inside:
                break
            reason = "inside_word"
    yield from answer.trim_spaces(begin)
    return None
