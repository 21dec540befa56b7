"""How many requests of one account may be under way at once. Nobody knows it beforehand, so it is found out.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does it (RFC 5681): the window doubles with
every window of successes up to the first sign of overload, then grows by one (or 5 %). A 429 or a 503 takes a fifth
away; refusals of requests that were sent before the last decrease tell nothing new. Where everything is refused, the
window waits, and after the first success it is soon what it was.

A server that queues what it cannot serve refuses nothing, but answers later. When the median time to the first token
is twice its usual, the window is halved, and halved again as long as that makes answers as much quicker: then they had
been waiting for each other, and by Little's law the window that keeps them within bounds is known. When it does not
help, the server is slower by itself, which is the usual from then on, and the window goes back to what it was.

No I/O and no clock: moments come as arguments, in seconds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass

START, MAXIMUM = 10, 256
FULL = 0.8  # share of the window in flight, from which it is what holds requests back
OVERLOADED = 0.8  # what a refusal leaves of the window
GROWTH = 0.05  # of the window, by a window of successes; but at least 1

BATCH = 16  # replies whose median counts
SLOW, SLACK = 2.0, 0.05  # times the usual, and seconds, above which replies are slow
QUEUED = 0.7  # of the requests a second, and half the window does that much: they had been waiting for each other
TIGHTENED = 0.9  # what slow replies leave of the window, at most once a second, between two trials
TRIAL_EVERY = 30.0  # seconds; how long at most a server that is slower by itself is taken for a full one
SHORTEST_QUEUE = 4  # slow replies never make the window smaller: so few wait for each other hardly anywhere
SHOWN = 15.0  # seconds for which a decrease is told as the reason


@dataclass(slots=True)
class _Trial:
    """Whether a smaller window makes replies of a kind quicker. slow: their seconds at the window `before`.

    served: requests a second at the window tried last, by Little's law.
    """

    kind: Hashable
    before: float
    slow: float
    served: float


class Window:
    """The window of one account: `limit` requests at most.

    start, maximum: requests. epoch: of a request, what it was when that was sent. fruitless: refusals that counted
    since the last success; with more than one, nobody gets through, which tells nothing of how much is too much.
    """

    def __init__(self, start: float = START, maximum: float = MAXIMUM) -> None:
        self.maximum = maximum
        self.limit = float(min(start, maximum))
        self.epoch = 0
        self.fruitless = 0
        self._doubles_to = math.inf
        self._proven, self._shrunk_at = True, -math.inf  # something sent since has succeeded
        self._is_full = False
        self._reason, self._reason_at = "", -math.inf
        self._usual: dict[Hashable, float] = {}
        self._batches: defaultdict[Hashable, list[tuple[float, int]]] = defaultdict(list)
        self._trial: _Trial | None = None
        self._tried_at = self._tightened_at = -math.inf
        self._held_until = -math.inf  # until then replies are slow, or a trial is under way, and it does not grow

    @property
    def outage(self) -> bool:
        """Whether nobody gets through: one request after the other may try."""
        return self.fruitless > 1

    def resize(self, start: float, maximum: float) -> None:
        """Other bounds. Where it begins matters only to a window that has not been used yet."""
        untouched = not self._usual and not self._batches and self.epoch == 0
        self.maximum = maximum
        self.limit = min(float(start) if untouched else self.limit, float(maximum))

    def succeeded(self, epoch: int, in_flight: int, now: float) -> None:
        """A request was answered. in_flight: requests under way, this one included."""
        # With more under way than the window holds, it has just become smaller: those show nothing yet.
        self._is_full = FULL * self.limit <= in_flight <= self.limit + 1
        self.fruitless = 0
        step = max(1.0, GROWTH * self.limit) / self.limit
        if epoch == self.epoch:  # else it says how wide the window was, not how wide it is
            self._proven = True
            step = 1.0 if self.limit < self._doubles_to else step
        if self._is_full and now >= self._held_until:
            self.limit = min(self.limit + step, self.maximum)

    def refused(self, epoch: int, status: int, now: float, *, by_rate: bool = False) -> bool:
        """A request was refused with `status`, for overload, or for a rate that is not known. Whether that counts."""
        if epoch != self.epoch:
            return False
        if not self.outage and (self._proven or now - self._shrunk_at >= 1.0):
            self._doubles_to = self._doubles_to if by_rate or not self._proven else self.limit * OVERLOADED
            self._proven, self._shrunk_at = False, now
            self._shrink(OVERLOADED, 1.0)
        self.epoch += 1
        self.fruitless += 1
        self._trial = None
        self._reason, self._reason_at = f"{status}s", now
        return True

    def took(self, kind: Hashable, seconds: float, epoch: int, width: int, now: float) -> None:
        """A request of a kind whose requests take alike had its first token, or all of it, after `seconds`.

        width: requests that were under way when it was sent, this one included.
        """
        if epoch != self.epoch:
            return
        batch = self._batches[kind]
        batch.append((seconds, width))
        if len(batch) < BATCH:
            return
        median, width = sorted(batch)[BATCH // 2]
        batch.clear()
        usual = self._usual.setdefault(kind, median)
        if self._trial and self._trial.kind == kind:
            self._try_on(self._trial, median, width, now)
        elif median <= SLOW * usual + SLACK:
            self._usual[kind] = min(median, usual)
            self._held_until = self._held_until if self._trial else now
        elif min(width, self.limit) > SHORTEST_QUEUE:
            self._held_until = now + _patience(median)
            self._slow(kind, median, usual, width, now)

    def why(self, now: float) -> str:
        """Why the window is as wide as it is, in a few words."""
        if now - self._reason_at < SHOWN:
            ago = f" {now - self._reason_at:.0f} s ago"
            return self._reason if self._reason.startswith("latency") else f"held at {self._reason}{ago}"
        if self.limit >= self.maximum:
            return "maximum"
        return "growing" if self._is_full else "wide enough"

    def _slow(self, kind: Hashable, median: float, usual: float, width: int, now: float) -> None:
        if now - self._tried_at >= TRIAL_EVERY:
            self._tried_at = now
            self.limit = min(self.limit, float(width))  # it may have grown since they were sent
            self._trial = _Trial(kind, self.limit, median, width / median)
            self._shrink(0.5, SHORTEST_QUEUE)
        elif now - self._tightened_at >= 1.0:
            self._shrink(TIGHTENED, SHORTEST_QUEUE)
        else:
            return
        self._doubles_to = self.limit
        self._tightened_at = now
        self._reason, self._reason_at = f"latency {median / usual:.1f}× its usual", now

    def _try_on(self, trial: _Trial, median: float, width: int, now: float) -> None:
        served = width / median
        if served >= QUEUED * trial.served and self.limit > SHORTEST_QUEUE:
            trial.served = served
            self._held_until = now + _patience(trial.slow)
            self._shrink(0.5, SHORTEST_QUEUE)
            return
        self._trial, self._tried_at, self._held_until = None, now, now
        slower = max(1.0, median / self._usual[trial.kind])
        # What has become slower for one kind has for all; if not for all, their own replies will soon tell.
        self._usual = {kind: usual * slower for kind, usual in self._usual.items()} | {trial.kind: median}
        bound = SLOW * median + SLACK
        fits = 1.0 if trial.slow <= bound else TIGHTENED * bound / trial.slow
        self._doubles_to = trial.before * fits
        if fits == 1.0:
            self._reason_at = -math.inf

    def _shrink(self, share: float, least: float) -> None:
        """Narrower by one step. What was sent before says nothing about the new width."""
        self.limit = max(self.limit * share, min(least, self.limit))
        self.epoch += 1
        self._batches.clear()


def _patience(slow: float) -> float:
    """Seconds in which a change should show: what is under way ends, and a batch is answered."""
    return 3 * slow + 1.0
