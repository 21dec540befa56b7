"""What one model is already known to say after which texts, for one answer.

Known are runs: the tokens of one reply, after the text that was asked about. A run answers for every token boundary in
it for as long as the answer agrees with it, whoever wrote that text, so a confirmed word costs nothing. A run of a
stream grows while it is read. Scores are what the model makes of a text that another wrote.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from nudge_providers.types import End, Token

# An answer only grows, and is cut back by a word at most; older replies have nothing left to say.
KEPT = 32


class Known(Protocol):
    """Something that may know the token after a text."""

    def token_after(self, after: str) -> Token | End | None:
        """The token after `after`, End, or None."""


@dataclass(slots=True)
class Run:
    """Tokens that the model wrote after `before`. Texts are whole answers. growing: its stream is still open."""

    before: str
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)  # of each token, then of what follows the last; in the answer
    ended: bool = False
    growing: bool = False

    def __post_init__(self) -> None:
        self.starts.append(len(self.before))

    def grow(self, token: Token) -> None:
        """One more token."""
        self.tokens.append(token)
        self.text += token.text
        self.starts.append(self.starts[-1] + len(token.text))

    def token_after(self, after: str) -> Token | End | None:
        size = len(after)
        if not self.agrees(after) or size > self.starts[-1]:
            return None
        if size == self.starts[-1]:
            return End() if self.ended else None
        try:
            return self.tokens[self.starts.index(size)]
        except ValueError:  # inside a token: the model was not asked about this text
            return None

    def agrees(self, after: str) -> bool:
        """Whether the run lies on the way to `after`, or `after` on the run's: neither contradicts the other."""
        begin = len(self.before)
        if len(after) < begin or not after.startswith(self.before):
            return False
        return self.text.startswith(after[begin:]) or after.startswith(self.text, begin)

    def missing(self, after: str) -> int:
        """Characters that the run would have to grow by to reach `after`."""
        return max(0, len(after) - self.starts[-1])


@dataclass(slots=True)
class Scores:
    """What the model would have written at some places of a text: by the length of the answer there."""

    text: str
    points: dict[int, Token]

    def token_after(self, after: str) -> Token | End | None:
        return self.points.get(len(after)) if self.text.startswith(after) else None


class Told:
    """What another process was told before it ended: single tokens after single texts."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[int, int], Token | End] = {}

    def note(self, after: str, token: Token | End) -> None:
        """Remember the token after `after`."""
        self._tokens[len(after), hash(after)] = token  # the texts themselves would be a square of the answer's size

    def token_after(self, after: str) -> Token | End | None:
        return self._tokens.get((len(after), hash(after)))


class Memory:
    """Known next tokens after known texts."""

    def __init__(self) -> None:
        self._known: list[Known] = []
        self.told = Told()

    def recall(self, after: str) -> Token | End | None:
        """The token after `after`, `End`, or None when it is not known. Later replies go before earlier ones.

        So the later one is waited for, too: where two replies split the text into different tokens, a model says
        different things after the same text, and which of them counts must not depend on what arrives first.
        """
        if (token := self.told.token_after(after)) is not None:
            return token
        for known in reversed(self._known):
            token = known.token_after(after)
            if token is not None:
                return token
            if isinstance(known, Run) and known.growing and known.starts[-1] == len(after) and known.agrees(after):
                return None
        return None

    def add(self, known: Known) -> None:
        """Remember a run, which may go on growing, or scores."""
        self._known.append(known)
        del self._known[:-KEPT]

    def learn(self, after: str, tokens: Iterable[Token], ended: bool) -> None:
        """Remember that the model, asked after `after`, wrote `tokens`, and whether it ended there."""
        run = Run(after, ended=ended)
        for token in tokens:
            run.grow(token)
        self.add(run)
