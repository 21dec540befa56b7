"""How fast a model answers and how long its runs are, measured while it is used: what plans decide by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WEIGHT = 0.2  # of a new measurement, against all before it
SHORTEST, LONGEST = 32, 256


@dataclass(slots=True)
class Pace:
    """One model at one endpoint, over all answers of a client.

    first: seconds from a request to its first token. token: seconds between tokens of a stream. None until measured.
    """

    first: float | None = None
    token: float | None = None
    runs: deque[int] = field(default_factory=lambda: deque(maxlen=6))

    def saw_first(self, seconds: float) -> None:
        self.first = seconds if self.first is None else self.first + WEIGHT * (seconds - self.first)

    def saw_tokens(self, seconds: float, count: int) -> None:
        """`count` tokens after the first took `seconds`."""
        if count > 0:
            each = seconds / count
            self.token = each if self.token is None else self.token + WEIGHT * (each - self.token)

    def saw_run(self, tokens: int) -> None:
        """A request's tokens, as far as they were of use."""
        self.runs.append(tokens)

    def bound(self, want: int) -> int:
        """`max_tokens` for a stream: twice the longest of the latest runs.

        A server that does not notice a hang-up writes on to the limit (llama.cpp now and then does), so it is kept low;
        but each limit that cuts a run short costs another round trip and another first token.
        """
        usual = 2 * max(self.runs) if self.runs else 2 * SHORTEST
        return max(1, min(want, LONGEST, max(SHORTEST, usual)))

    def chunk(self) -> int:
        """L for a model that is asked in chunks: a little over the middle one of the latest runs.

        What comes after a cut is thrown away, and each call too many costs a round trip.
        """
        if not self.runs:
            return 16
        usual = sorted(self.runs)[len(self.runs) // 2]
        return max(4, min(64, round(1.25 * usual) + 1))

    def worth_waiting(self, characters: int) -> bool:
        """Whether a stream that lags by so many characters arrives sooner than a new one would begin."""
        if self.first is None or self.token is None:
            return characters < 40
        return characters / 4 * self.token < self.first
