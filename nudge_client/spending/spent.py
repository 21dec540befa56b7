"""What the tokens of a job went into: answers, what was thrown away for them, answers that failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nudge_client.decoding import Author
from nudge_client.settings import Price
from nudge_client.spending.purse import Amount


@dataclass(slots=True)
class Spent:
    """Totals by purpose, to be filled from the `stats` of the answer objects, live or as records hold them.

    answered: prompts, and the tokens that answers are made of. discarded: what was written for answers and not used.
    failed: everything spent in answers that failed. Together they are about the purse's `likely`; what its `spent` has
    beyond that, servers may have written unheard.
    """

    answered: Amount = field(default_factory=Amount)
    discarded: Amount = field(default_factory=Amount)
    failed: Amount = field(default_factory=Amount)

    def add_answer(self, stats: Mapping[str, Any], prices: Mapping[Author, Price]) -> None:
        """stats: of a finished answer. A model without a price costs nothing."""
        whole, discarded = _took(stats, prices)
        self.answered += whole - discarded
        self.discarded += discarded

    def add_failure(self, stats: Mapping[str, Any], prices: Mapping[Author, Price]) -> None:
        """stats: of `AnswerStream.partial()`, after it failed."""
        self.failed += _took(stats, prices)[0]

    def to_dict(self) -> dict[str, dict[str, float]]:
        """For JSON: cost in dollars and tokens of each purpose."""
        named = {"answered": self.answered, "discarded": self.discarded, "failed": self.failed}
        return {name: {"cost": float(amount.cost), "tokens": amount.tokens} for name, amount in named.items()}


def _took(stats: Mapping[str, Any], prices: Mapping[Author, Price]) -> tuple[Amount, Amount]:
    """All that the models took, and what of it was discarded."""
    whole = lost = Amount()
    authors: tuple[Author, ...] = ("base", "nudger")
    for author in authors:
        model, price = stats[author], prices.get(author, Price())
        prompt, written, discarded = (
            model[name] for name in ("prompt_tokens", "completion_tokens", "discarded_tokens")
        )
        whole += Amount(price.exact(prompt, model["cached_tokens"], written), prompt + written)
        lost += Amount(price.exact(0, 0, discarded), discarded)
    return whole, lost
