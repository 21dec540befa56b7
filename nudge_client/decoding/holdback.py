"""From a decoder's events to pieces that can be shown at once: what may still be taken back is held back.

Held are the base model's last word (the nudger may yet make it its own, or a cut may move back over it), and whatever
may turn out to be the beginning of a stop string. Only a guard reaches further back; then a piece says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from nudge_client.decoding.events import Append, Author, Event, Finish, Retract, take_back
from nudge_client.decoding.rules import Segmentation
from nudge_client.decoding.text import held_for_stop, last_word_start


class Piece(NamedTuple):
    """Some of the answer, as it is written.

    retracted: characters to take off the end of what was shown before `text` is added; 0 but for a guard.
    """

    text: str
    author: Author
    reason: str
    retracted: int = 0


@dataclass(slots=True)
class Holdback:
    """Feed it every `Append`, `Retract` and `Finish` in order; it gives the pieces to show."""

    stop: tuple[str, ...] = ()
    base_stop: tuple[str, ...] = ()
    segmentation: Segmentation = "space"
    hold_words: bool = True
    _held: list[Append] = field(default_factory=list)
    _author: Author = "nudger"

    def feed(self, event: Event) -> Iterator[Piece]:
        if isinstance(event, Append):
            if event.author != self._author and event.author == "nudger":
                yield from self._release(held_for_stop(self._text(), self.stop))
            self._author = event.author
            self._held.append(event)
            yield from self._release(self._to_hold())
        elif isinstance(event, Retract):
            yield from self._take_back(event)
        elif isinstance(event, Finish):
            yield from self._release(0)

    def _text(self) -> str:
        return "".join(part.text for part in self._held)

    def _to_hold(self) -> int:
        text = self._text()
        held = held_for_stop(text, self.stop)
        if self._author == "base" and self.hold_words:
            # What is left if a base stop is dropped and spaces are trimmed: its last word, its part of a stop string.
            kept = text[: len(text) - held_for_stop(text, self.base_stop)]
            trimmed = kept.rstrip(" \t")
            held = max(
                held,
                len(text) - last_word_start(kept, 0, self.segmentation),
                len(text) - len(trimmed) + held_for_stop(trimmed, self.stop),
            )
        return held

    def _release(self, held: int) -> Iterator[Piece]:
        surplus = len(self._text()) - held
        while surplus > 0:
            part = self._held.pop(0)
            if len(part.text) > surplus:
                self._held.insert(0, part._replace(text=part.text[surplus:]))
                part = part._replace(text=part.text[:surplus])
            surplus -= len(part.text)
            yield Piece(part.text, part.author, part.reason)

    def _take_back(self, event: Retract) -> Iterator[Piece]:
        left = event.characters - sum(len(part.text) for part in take_back(self._held, event.characters))
        if left:
            yield Piece("", self._author, event.reason, left)
