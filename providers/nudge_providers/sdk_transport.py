"""The transport on a caller's own `openai.AsyncOpenAI` client.

The client's part is the way there: its base url, its headers and credentials, its connections. Everything else is as
on the other transport: the SDK's retries are off, redirects are not followed, and bytes are read here, so that a reply
is judged the same however it came.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, cast

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, AsyncStream
from pydantic import SecretStr

from nudge_providers.errors import MalformedReply, NudgeError, UsageError
from nudge_providers.http_errors import (
    Refine,
    broke_off,
    cannot_connect,
    no_connection_in_time,
    no_refinement,
    tls_failed,
)
from nudge_providers.limits import Limits
from nudge_providers.request_ids import HEADER
from nudge_providers.retry import Disconnected
from nudge_providers.transport import Incoming, Transport


class SdkTransport(Transport):
    """Requests by `client`, to paths under its own base url. See `Transport` for what is not told here.

    The client stays the caller's: closing this leaves it open. Its timeouts hold too, where they are shorter.
    """

    def __init__(
        self,
        endpoint: str,
        client: AsyncOpenAI,
        *,
        deadline: float = 120.0,
        stall_timeout: float = 30.0,
        limits: Limits | None = None,
        refine: Refine = no_refinement,
    ) -> None:
        # The url may hold secrets, too. A token provider's key is not known yet.
        owner = ("", SecretStr(f"{client.base_url} {client.api_key}"))
        super().__init__(endpoint, owner, deadline=deadline, stall_timeout=stall_timeout, limits=limits, refine=refine)
        self._client = client

    async def aclose(self) -> None:
        """Send no more; a reply under way is read to its end. Safe to call twice."""
        self._closed = True

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, payload: Mapping[str, Any] | None, request_id: str
    ) -> AsyncIterator[Incoming]:
        self._check_open()
        if self._client.is_closed():
            raise UsageError(f"{self.endpoint}: its openai client is closed")
        response = await self._send(method, path, payload, request_id)
        try:
            async with aclosing(self._parts(response)) as parts:
                yield Incoming(response.status_code, response.headers, parts)
        finally:
            with suppress(Exception):  # the connection may be broken already
                await response.aclose()

    async def _send(
        self, method: str, path: str, payload: Mapping[str, Any] | None, request_id: str
    ) -> httpx2.Response:
        """The reply, its body not read yet; of any status."""
        send = self._client.get if method == "GET" else self._client.post
        body = {} if method == "GET" else {"body": payload}
        try:
            # Asked for as it is: the SDK's own reading of streams skips what it cannot read.
            response = await cast(Any, send)(
                path,
                cast_to=httpx2.Response,
                stream=True,
                stream_cls=AsyncStream[object],
                options={"max_retries": 0, "follow_redirects": False, "headers": {HEADER: request_id}},
                **body,
            )
        except APIStatusError as error:
            return error.response
        except Exception as error:  # also what a caller's own credentials or hooks raise
            raise translated(error, self.endpoint) from None
        return cast(httpx2.Response, response)

    async def _parts(self, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
        try:
            async for part in response.aiter_bytes():
                if part:
                    yield part
        except Exception as error:
            raise translated(error, self.endpoint) from None


def translated(error: Exception, endpoint: str) -> NudgeError:
    """The one boundary where the SDK's errors, and those of the HTTP client in it, become ours.

    No text of theirs is passed on: it can hold urls and headers. The HTTP client's errors are told by their names,
    because it may be httpx or httpx2: two packages with classes of the same names.
    """
    cause = (error.__cause__ or error) if isinstance(error, APIConnectionError) else error
    names = {kind.__name__ for kind in type(cause).__mro__}
    chain = list(_chain(cause))
    if any(isinstance(each, ssl.SSLError) for each in chain):
        return tls_failed(endpoint)
    if "ConnectTimeout" in names:
        return no_connection_in_time(endpoint)
    if "TimeoutException" in names:
        return Disconnected("no answer within the openai client's own timeout", endpoint=endpoint)
    if "ConnectError" in names:
        return cannot_connect(endpoint, _errno(chain))
    if "DecodingError" in names:
        return MalformedReply(endpoint, "body", "is not in the encoding that its headers name")
    # A url or a header that cannot be sent is no failure of the way there, though it comes as one.
    ours = names & {"UnsupportedProtocol", "LocalProtocolError", "InvalidURL"}
    if not ours and (isinstance(error, APIConnectionError) or names & {"TransportError", "StreamError"}):
        return broke_off(endpoint)
    return UsageError(f"{endpoint}: the openai client could not make the request ({type(cause).__name__})")


def _chain(error: object) -> Iterator[BaseException]:
    """An error and its causes. Not its contexts: those may be the caller's own, being handled."""
    while isinstance(error, BaseException):
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]  # one for each address of a name
        else:
            error = error.__cause__ or next(iter(error.args), None)  # httpcore2 holds the cause as its argument


def _errno(chain: list[BaseException]) -> int | None:
    """The operating system's own number, which only the innermost has."""
    return next((each.errno for each in reversed(chain) if isinstance(each, OSError)), None)
