"""The shared way to a server: JSON in, JSON or events out. How the bytes travel is a subclass's own."""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from pydantic import SecretStr

from nudge_providers.account import Account, account
from nudge_providers.errors import (
    EndpointError,
    MalformedReply,
    RateLimitedError,
    UnavailableError,
    UsageError,
    printable,
)
from nudge_providers.http_errors import Refine, decoded_error, error_for_status, no_refinement
from nudge_providers.limits import Limits, Load
from nudge_providers.measures import comparable, tokens_of, written
from nudge_providers.place import Place
from nudge_providers.request_ids import HEADER, RequestId
from nudge_providers.retry import Deadline, Disconnected, call_with_retries
from nudge_providers.sse import SseDecoder

MAX_REPLY_BYTES = 64 * 1024 * 1024  # of a reply or of a whole stream
MAX_EVENT_SIZE = 1024 * 1024  # characters; an event is one token and at most a hundred others


class Reply(NamedTuple):
    """A decoded JSON body and the server's id for the request, if it gave one."""

    data: Any
    request_id: str


class Incoming(NamedTuple):
    """A reply as it arrives. Its headers are found in any case; its body comes in parts."""

    status: int
    headers: Mapping[str, str]
    parts: AsyncIterator[bytes]


class Transport(ABC):
    """Requests to one server.

    endpoint: how errors name it. owner: base URL and key, whose limits all requests share.
    deadline: seconds for one call, retries and the waits between them included; waiting for the account is not.
    stall_timeout: seconds without a byte after which a stream counts as broken off.
    limits: the user's own, of the account; more come from the replies' headers.
    refine: turns a status error into the server's own, more telling one, given the decoded body.
    """

    def __init__(
        self,
        endpoint: str,
        owner: tuple[str, SecretStr | None],
        *,
        deadline: float = 120.0,
        stall_timeout: float = 30.0,
        limits: Limits | None = None,
        refine: Refine = no_refinement,
    ) -> None:
        self.endpoint = endpoint
        self.deadline = deadline
        self._stall_timeout = stall_timeout
        self._refine = refine
        self._owner = owner
        self._limits = limits
        self._account: Account | None = None
        self._closed = False

    @abstractmethod
    def _request(
        self, method: str, path: str, payload: Mapping[str, Any] | None, request_id: str
    ) -> AbstractAsyncContextManager[Incoming]:
        """One request and its reply, whatever its status; left early, it is cancelled. No redirect is followed.

        `request_id` goes along as `x-request-id`. Left by a MalformedReply, a connection of ours is not used again.
        Calls `_check_open` first. Raises the classified errors of this package and no others.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Answer no more. Safe to call twice."""

    async def post(self, path: str, payload: Mapping[str, Any]) -> Reply:
        """POST `payload` as JSON; the decoded reply. Raises the classified errors of this package."""
        return await self._call("POST", path, payload)

    async def get(self, path: str) -> Reply:
        """GET a JSON document."""
        return await self._call("GET", path, None)

    async def events(
        self, path: str, payload: Mapping[str, Any], place: Place | None = None
    ) -> AsyncGenerator[Any, None]:
        """POST `payload` and give the decoded data of each event, until `[DONE]`; one try, no retries.

        place: the call's, where this is not its first try. It is held until the stream is closed.
        Closing it closes the connection, which is how a server learns that nobody listens. Raises the classified
        errors; Disconnected when the stream breaks off or stalls.
        """
        decoder, own, size, begun = SseDecoder(), RequestId(self.endpoint), 0, False
        place = place or self.place()
        place.tokens = tokens_of(payload)
        async with place, self._begun(path, payload, own, place) as reply:
            content_type = reply.headers.get("content-type", "").partition(";")[0].strip()
            if content_type.lower() != "text/event-stream":
                raise MalformedReply(self.endpoint, f"{path} stream", f"comes as {printable(content_type, 40)}")
            while True:
                try:
                    async with asyncio.timeout(self._stall_timeout):
                        chunk = await anext(reply.parts, b"")
                except TimeoutError:
                    raise Disconnected(f"no data for {self._stall_timeout:g} s", endpoint=self.endpoint) from None
                if not chunk:
                    raise Disconnected("the stream broke off", endpoint=self.endpoint)
                size += len(chunk)
                for data in self._decoded(decoder, chunk, path):
                    if data == "[DONE]":
                        return
                    event = self._event(data, path, place)
                    own.check_event(event)
                    if not begun:
                        begun = True
                        place.answered(comparable(self.endpoint, payload, 0))
                    yield event
                self._check_size(size, f"{path} stream")

    @asynccontextmanager
    async def _begun(
        self, path: str, payload: Mapping[str, Any], own: RequestId, place: Place
    ) -> AsyncIterator[Incoming]:
        """A stream that has begun. A busy server may let it wait, but not beyond the deadline."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.deadline):
                    reply = await stack.enter_async_context(self._request("POST", path, payload, own.sent))
                    own.check(reply.headers.get(HEADER), HEADER)
                    self._limiter().learn(reply.headers)
                    if reply.status != 200:
                        body = decoded_error(await self._read(reply, path))
                        raise self._error(reply.status, reply.headers, body, place)
            except TimeoutError:
                raise UnavailableError(f"no answer within {self.deadline:g} s", endpoint=self.endpoint) from None
            yield reply

    async def _call(self, method: str, path: str, payload: Mapping[str, Any] | None) -> Reply:
        place = self.place()
        place.tokens = tokens_of(payload or {})

        async def attempt() -> Reply:
            async with place:
                return await self._attempt(method, path, payload, place)

        try:
            return await call_with_retries(attempt, place.deadline)
        except UnavailableError as error:
            error.endpoint = error.endpoint or self.endpoint
            raise

    async def _attempt(self, method: str, path: str, payload: Mapping[str, Any] | None, place: Place) -> Reply:
        own = RequestId(self.endpoint)
        async with self._request(method, path, payload, own.sent) as reply:
            request_id = reply.headers.get(HEADER, "")
            own.check(request_id, HEADER)
            self._limiter().learn(reply.headers)
            raw = await self._read(reply, path)
            if reply.status == 200:
                data = self._json(raw, path)
                own.check_event(data)
                place.answered(comparable(self.endpoint, payload, written(data)))
                return Reply(data, request_id)
        raise self._error(reply.status, reply.headers, decoded_error(raw), place)

    async def _read(self, reply: Incoming, path: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in reply.parts:
            size += len(part)
            self._check_size(size, f"{path} body")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _check_size(self, size: int, what: str) -> None:
        if size > MAX_REPLY_BYTES:
            raise MalformedReply(self.endpoint, what, f"is larger than {MAX_REPLY_BYTES >> 20} MiB")

    def _decoded(self, decoder: SseDecoder, chunk: bytes, path: str) -> list[str]:
        try:
            events = decoder.decode(chunk)
        except UnicodeDecodeError:
            raise MalformedReply(self.endpoint, f"{path} stream", "is not UTF-8 text") from None
        if decoder.held > MAX_EVENT_SIZE:  # held until it is whole, and looked through again with every chunk
            raise MalformedReply(self.endpoint, f"{path} stream", "has an event without an end")
        return events

    def _event(self, data: str, path: str, place: Place) -> Any:
        """An event's JSON. An error may come inside a 200 stream, with the status it would have had in `code`."""
        event = self._json(data, path)
        if isinstance(event, dict) and event.get("error"):
            detail = event["error"]
            code = detail.get("code") if isinstance(detail, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise self._error(status, {}, event, place)
        return event

    def _json(self, raw: bytes | str, path: str) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise MalformedReply(self.endpoint, f"{path} body", "is not JSON") from None

    def _error(self, status: int, headers: Mapping[str, str], body: Any, place: Place) -> EndpointError:
        error = self._refine(error_for_status(self.endpoint, status, headers, body), body)
        if isinstance(error, RateLimitedError | UnavailableError):
            place.refused(error, status, headers)
        return error

    def place(self) -> Place:
        """A place for one call at the account. The call's deadline begins now."""
        return self._limiter().place(Deadline(self.deadline))

    @property
    def load(self) -> Load | None:
        """How things stand at the account; None before the first request."""
        return self._account.load() if self._account else None

    def _limiter(self) -> Account:
        if self._account is None:
            self._account = account(*self._owner)
            if self._limits is not None:
                self._account.wish(self._limits)
        return self._account

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"{self.endpoint}: it is closed, and answers no more")
