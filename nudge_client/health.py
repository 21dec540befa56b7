"""Whether the endpoints of many answers are up, and how long to believe that they may come back."""

from __future__ import annotations

import time
from collections.abc import Callable

from nudge_providers.errors import NudgeError

TRIES = 5  # of one answer, when others succeed meanwhile


class Health:
    """Whether the endpoints answer at all, as the answers under way see it."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.error: NudgeError | None = None
        self.since = 0.0
        self._fine = 0

    def fine(self) -> None:
        """Something arrived."""
        self._fine += 1
        self.error = None

    def failed(self, error: NudgeError) -> None:
        """An answer could not go on."""
        if self.error is None:
            self.since = time.monotonic()
        self.error = error

    @property
    def seconds_down(self) -> float:
        """Since when nothing has arrived, while something failed."""
        return time.monotonic() - self.since if self.error else 0.0

    def watched(self) -> Callable[[int], bool]:
        """When one answer should give up: its endpoint is down for good, or fails this answer and serves others."""
        fine = self._fine

        def hopeless(tries: int) -> bool:
            return self.seconds_down > self.patience or (tries >= TRIES and self._fine - fine > tries)

        return hopeless
