"""Server-sent events, decoded as bytes arrive, however they are split."""

from __future__ import annotations

import codecs


class SseDecoder:
    """Feed it bytes; it gives the data of each event that is whole.

    Comment lines, event names, ids and empty events are left out. Lines end in LF, CR LF or CR (WHATWG, server-sent
    events). Raises UnicodeDecodeError for bytes that are not UTF-8.
    """

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._data: list[str] = []

    @property
    def held(self) -> int:
        """Characters kept of an event that is not whole yet."""
        return len(self._rest) + sum(map(len, self._data))

    def decode(self, chunk: bytes) -> list[str]:
        """The data of the events that this chunk completes."""
        text = self._rest + self._utf8.decode(chunk)
        # A CR at the end may be half of a CR LF.
        held = "\r" if text.endswith("\r") else ""
        *lines, self._rest = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest += held
        events: list[str] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append("\n".join(self._data))
                    self._data = []
            elif line.startswith("data:"):
                self._data.append(line[5:].removeprefix(" "))
        return events
