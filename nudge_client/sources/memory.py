"""What one model is already known to say after which texts, for one answer.

Known are runs: the tokens of one reply, after the text that was asked about. A run answers for every token boundary in
it for as long as the answer agrees with it, whoever wrote that text, so a confirmed word costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from nudge_providers.types import End, Token

# An answer only grows, and is cut back by a word at most; older runs have nothing left to say.
KEPT_RUNS = 8


@dataclass(slots=True)
class _Run:
    before: str
    text: str
    tokens: tuple[Token, ...]
    starts: list[int]  # of each token, then of what follows the last; absolute positions in the answer
    ended: bool

    def token_after(self, after: str) -> Token | End | None:
        begin, size = len(self.before), len(after)
        if not begin <= size <= self.starts[-1]:
            return None
        if not after.startswith(self.before) or not self.text.startswith(after[begin:]):
            return None
        if size == self.starts[-1]:
            return End() if self.ended else None
        try:
            return self.tokens[self.starts.index(size)]
        except ValueError:  # inside a token: the model was not asked about this text
            return None


class Memory:
    """Known next tokens after known texts. Texts are whole answers."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def recall(self, after: str) -> Token | End | None:
        """The token after `after`, `End`, or None when it is not known. Later replies go before earlier ones."""
        for run in reversed(self._runs):
            known = run.token_after(after)
            if known is not None:
                return known
        return None

    def learn(self, after: str, tokens: tuple[Token, ...], ended: bool) -> None:
        """Remember that the model, asked after `after`, wrote `tokens`, and whether it ended there."""
        sizes = (len(token.text) for token in tokens)
        starts = list(accumulate(sizes, initial=len(after)))
        text = "".join(token.text for token in tokens)
        self._runs.append(_Run(after, text, tokens, starts, ended))
        del self._runs[:-KEPT_RUNS]
