"""What is known of an answer that is not finished: enough to go on with it in another process.

A decoder is a function of the replies it was sent. So the replies are kept, in order, with what the requests took; sent
to a new decoder they bring it to the same place, with the same text, authors and rounds, at no cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Any, NamedTuple

from nudge_client.decoding.events import Author, Reply
from nudge_client.sources import Entry
from nudge_providers.errors import UsageError
from nudge_providers.types import Completion, End, Token, Usage

AUTHORS: tuple[Author, ...] = ("base", "nudger")


@dataclass(slots=True)
class Checkpoint:
    """Where an answer was broken off. `AnswerStream.checkpoint` makes one, `NudgeClient.stream` goes on from it.

    replies: what the decoder was sent. entries: the requests, by model. seconds: time spent so far.
    """

    replies: list[Reply] = field(default_factory=list)
    entries: dict[Author, list[Entry]] = field(default_factory=lambda: {author: [] for author in AUTHORS})
    seconds: float = 0.0

    def add(self, part: Mapping[str, Any]) -> None:
        """Take in what `part_since` gave. Raises UsageError when that is not what it is."""
        try:
            replies = [_reply(item) for item in part["replies"]]
            entries = {author: (part[author][0], [_entry(row) for row in part[author][1]]) for author in AUTHORS}
            self.seconds = float(part["seconds"])
            self.replies += replies
            for author, (begin, rows) in entries.items():
                self.entries[author][begin:] = rows
        except (KeyError, TypeError, ValueError, IndexError):
            raise UsageError("that is no checkpoint of an answer") from None

    def part(self) -> dict[str, Any]:
        """All of it in one part."""
        return part_since(Mark(), self.replies, self.entries, self.seconds)[0]

    @classmethod
    def of(cls, parts: Iterable[Mapping[str, Any]]) -> Checkpoint:
        """The checkpoint that `parts` make, in order."""
        checkpoint = cls()
        for part in parts:
            checkpoint.add(part)
        return checkpoint


class Mark(NamedTuple):
    """How much of an answer was put down: replies, and requests of each model that were over by then."""

    replies: int = 0
    base: int = 0
    nudger: int = 0

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Mark:
        """All that a checkpoint holds."""
        return cls(len(checkpoint.replies), *(len(checkpoint.entries[author]) for author in AUTHORS))


def part_since(
    mark: Mark, replies: Sequence[Reply], requests: Mapping[Author, Sequence[Entry]], seconds: float
) -> tuple[dict[str, Any], Mark]:
    """What came since `mark`, as JSON values, and the next mark. Requests that are under way are told again later."""
    part: dict[str, Any] = {
        "replies": [_plain(reply) for reply in replies[mark.replies :]],
        "seconds": round(seconds, 3),
    }
    over: dict[str, int] = {}
    for author, begin in (("base", mark.base), ("nudger", mark.nudger)):
        entries = requests[author][begin:]  # type: ignore[index]
        part[author] = [begin, [_row(entry) for entry in entries]]
        ended = next((number for number, entry in enumerate(entries) if not entry.ended), len(entries))
        over[author] = begin + ended
    return part, Mark(len(replies), **over)


def _plain(reply: Reply) -> Any:
    if isinstance(reply, Token):
        return list(reply[:4])
    if isinstance(reply, Completion):
        tokens = [list(token[:4]) for token in reply.tokens]
        return {"text": reply.text, "tokens": tokens, "finish": reply.finish, "usage": astuple(reply.usage)}
    return None


def _reply(item: Any) -> Reply:
    if item is None:
        return End()
    if isinstance(item, dict):
        tokens = tuple(Token(*token) for token in item["tokens"])
        return Completion(item["text"], tokens, item["finish"], Usage(*item["usage"]))
    return Token(*item)


def _row(entry: Entry) -> list[Any]:
    return [
        entry.kind,
        entry.prompt_characters,
        entry.speculative,
        entry.listed,
        *astuple(entry.usage),
        entry.lost,
        entry.sent,
        entry.refused,
    ]


def _entry(row: Sequence[Any]) -> Entry:
    """Times of another process mean nothing here: such a request was over when this one began."""
    kind, characters, speculative, listed, prompt, cached, completion, *flags = row
    entry = Entry(kind, characters, speculative, listed, Usage(prompt, cached, completion), *flags)
    return replace(entry, first=entry.begun, ended=entry.begun)
