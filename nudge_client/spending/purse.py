"""Hard caps on a whole job: what a request may cost at most is set aside before it is sent.

Invariant: spent and reserved together never pass a cap. Costs are fractions, so no rounding can pass one either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from nudge_providers.errors import BudgetError, UsageError

STEPS = 100  # of a cap; a job that is killed may find one of them spent that was not


@dataclass(frozen=True, slots=True)
class Amount:
    """cost: US dollars, exact; `str` of it can be written down and read back. tokens: of both models."""

    cost: Fraction = Fraction(0)
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.cost + other.cost, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.cost - other.cost, self.tokens - other.tokens)


class Reservation:
    """What is set aside for one request, until it is known what that took."""

    def __init__(self, purse: Purse, amount: Amount) -> None:
        self.amount = amount
        self._purse: Purse | None = purse

    def settle(self, spent: Amount, likely: Amount | None = None) -> None:
        """Spend `spent`, and free the rest. likely: what it probably was, where that is not the same. To be done once.

        `spent` may be more than was set aside, where a server billed what it should not have: it counts all the same.
        """
        purse, self._purse = self._purse, None
        assert purse, "a reservation is settled once"
        purse._settle(self.amount, spent, spent if likely is None else likely)


class Purse:
    """What a job may spend and has spent, over all its answers. Belongs to one event loop.

    max_cost: US dollars. max_tokens_total: tokens of both models, prompts and completions. None: no such cap.
    spent, likely: of a job that is resumed, what those of its earlier runs were; `likely` defaults to `spent`.
    Raises UsageError for a cap that is none.

    `spent` is the most that the job can have been billed, and what the caps are held against. `likely` leaves out what
    servers may have written unheard. `reserved` is set aside for the requests under way.
    """

    def __init__(
        self,
        max_cost: float | None = None,
        max_tokens_total: int | None = None,
        *,
        spent: Amount | None = None,
        likely: Amount | None = None,
    ) -> None:
        for name, cap in (("max_cost", max_cost), ("max_tokens_total", max_tokens_total)):
            if cap is not None and not 0 <= cap < float("inf"):
                raise UsageError(f"{name} is {cap}; a cap is a number from 0 up")
        # The cap that was written, not the nearest binary fraction.
        self.max_cost = None if max_cost is None else Fraction(str(max_cost))
        self.max_tokens_total = max_tokens_total
        self.spent = spent or Amount()
        self.likely = likely or self.spent
        self.reserved = Amount()
        self.noted = self.spent
        self._note: Callable[[], None] | None = None
        self._queue: deque[tuple[Amount, asyncio.Future[None]]] = deque()

    def written_down(self, note: Callable[[], None]) -> None:
        """Have `note` called, before a request is sent, whenever `to_note` has grown: it must be kept then.

        It grows by steps of a hundredth of the caps, so that it is seldom. Without caps there is nothing to hold.
        """
        self._note = note if (self.max_cost, self.max_tokens_total) != (None, None) else None

    def to_note(self) -> Amount:
        """What is spent for sure by the requests sent so far, however they end: `spent`, when none is under way."""
        if not self.reserved.tokens:
            self.noted = self.spent
        return self.noted if self._note else self.spent + self.reserved

    async def reserve(self, amount: Amount) -> Reservation:
        """Set `amount` aside. Where only the requests under way are in the way, wait for them, first come first served.

        Raises BudgetError when it would not fit even without them. Whoever waits holds nothing of its own, so every
        wait ends as long as each request does.
        """
        if error := self._refusal(amount):
            raise error
        if self._queue or not self._fits(amount):
            await self._turn(amount)
        else:
            self._set_aside(amount)
        return Reservation(self, amount)

    async def _turn(self, amount: Amount) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:  # granted, and given up at the same moment
                self.reserved -= amount
            self._serve()
            raise

    def _settle(self, reserved: Amount, spent: Amount, likely: Amount) -> None:
        self.reserved -= reserved
        self.spent += spent
        self.likely += likely
        self._keep_note()  # a server may have billed more than was set aside
        self._serve()

    def _serve(self) -> None:
        """Answer those who wait, in order, up to the first who still has to."""
        while self._queue:
            amount, turn = self._queue[0]
            if not turn.done():
                if error := self._refusal(amount):
                    turn.set_exception(error)
                elif self._fits(amount):
                    self._set_aside(amount)
                    turn.set_result(None)
                else:
                    return
            self._queue.popleft()

    def _set_aside(self, amount: Amount) -> None:
        self.reserved += amount
        self._keep_note()

    def _keep_note(self) -> None:
        total = self.spent + self.reserved
        if self._note and (total.cost > self.noted.cost or total.tokens > self.noted.tokens):
            cost, tokens = self.max_cost, self.max_tokens_total
            self.noted = Amount(
                total.cost if cost is None else min(total.cost + cost / STEPS, cost),
                total.tokens if tokens is None else min(total.tokens + tokens // STEPS, tokens),
            )
            self._note()

    def _fits(self, amount: Amount) -> bool:
        return not self._passed(self.spent + self.reserved + amount)

    def _passed(self, total: Amount) -> str:
        """The cap that `total` is beyond, by name."""
        if self.max_cost is not None and total.cost > self.max_cost:
            return "max_cost"
        if self.max_tokens_total is not None and total.tokens > self.max_tokens_total:
            return "max_tokens_total"
        return ""

    def _refusal(self, amount: Amount) -> BudgetError | None:
        """Why `amount` can never be spent, if so."""
        name = self._passed(self.spent + amount)
        if not name:
            return None
        if name == "max_cost":
            assert self.max_cost is not None
            cap, spent, asked = (f"${float(cost):.6g}" for cost in (self.max_cost, self.spent.cost, amount.cost))
        else:
            cap, spent, asked = (
                f"{count} tokens" for count in (self.max_tokens_total, self.spent.tokens, amount.tokens)
            )
        return BudgetError(
            f"the job's cap is reached: {cap} allowed, up to {spent} spent, and one more request may take {asked}; "
            f"raise {name} to go on"
        )
