"""Whose answer is this? Every request carries an id of ours, and a reply that names another one is never used.

Servers that know `x-request-id` send it back in that header; vLLM makes it part of the completion's `id`. Proxies and
caches on the way can mix replies up, and a mixed-up reply is good JSON with the wrong text in it.
"""

from __future__ import annotations

import os
import re

from nudge_providers.errors import MalformedReply

HEADER = "x-request-id"
_OURS = re.compile(r"nudge-[0-9a-f]{24}")


class RequestId:
    """The id of one try of one request: random, telling nothing. endpoint: how errors name the server."""

    __slots__ = ("_endpoint", "_event_id", "sent")

    def __init__(self, endpoint: str) -> None:
        self.sent = f"nudge-{os.urandom(12).hex()}"  # not from `random`, which a caller may have seeded
        self._endpoint = endpoint
        self._event_id: object = None

    def check(self, named: object, field: str) -> None:
        """Raise MalformedReply when a reply names one of our ids, and not this one. A server's own say nothing."""
        if isinstance(named, str) and self.sent not in named and _OURS.search(named):
            raise self._other(field)

    def check_event(self, event: object) -> None:
        """The same for an event of a stream, all of whose events have one `id`."""
        named = event.get("id") if isinstance(event, dict) else None
        if not named or named == self._event_id:
            return
        if self._event_id is not None:
            raise self._other("event id")
        self.check(named, "event id")
        self._event_id = named

    def _other(self, field: str) -> MalformedReply:
        error = MalformedReply(self._endpoint, field, "belongs to another request", request_id=self.sent)
        error.advice = "Does a proxy or a cache on the way mix replies up?"
        return error
