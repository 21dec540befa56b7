"""The shared way to a server: one pooled aiohttp session an endpoint, JSON in, JSON or events out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from pydantic import SecretStr

from nudge_providers.errors import (
    EndpointError,
    MalformedReply,
    RateLimitedError,
    UnavailableError,
    UsageError,
    printable,
)
from nudge_providers.http_errors import error_for_status, translated
from nudge_providers.limits import CHARACTERS_A_TOKEN, Account, Limits, account
from nudge_providers.retry import Disconnected, call_with_retries
from nudge_providers.sse import SseDecoder

# vLLM and llama.cpp close an idle socket after about 5 s; a request on one that is closing fails. Let go sooner.
KEEP_ALIVE_SECONDS = 3.0
MAX_REPLY_BYTES = 64 * 1024 * 1024

Refine = Callable[[EndpointError, Any], EndpointError]


class Reply(NamedTuple):
    """A decoded JSON body and the server's id for the request, if it gave one."""

    data: Any
    request_id: str


def no_refinement(error: EndpointError, _body: object) -> EndpointError:
    """Leave the error as it is."""
    return error


class HttpTransport:
    """Requests to one base URL.

    endpoint: how errors name it. api_key: sent as a bearer token, shown nowhere.
    deadline: seconds for one call, retries and waits included. connect_timeout: seconds for one connection.
    stall_timeout: seconds without a byte after which a stream counts as broken off.
    limits: the user's own, of the account; more come from the replies' headers.
    refine: turns a status error into the server's own, more telling one, given the decoded body.
    """

    def __init__(
        self,
        endpoint: str,
        base_url: str,
        *,
        api_key: SecretStr | None = None,
        deadline: float = 120.0,
        connect_timeout: float = 10.0,
        stall_timeout: float = 30.0,
        max_connections: int = 256,
        limits: Limits | None = None,
        refine: Refine = no_refinement,
    ) -> None:
        self.endpoint = endpoint
        self.base_url = base_url
        self.deadline = deadline
        self._api_key = api_key
        self._connect_timeout = connect_timeout
        self._stall_timeout = stall_timeout
        self._max_connections = max_connections
        self._refine = refine
        self._limits = limits
        self._account: Account | None = None
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def post(self, path: str, payload: Mapping[str, Any]) -> Reply:
        """POST `payload` as JSON; the decoded reply. Raises the classified errors of this package."""
        return await self._call("POST", path, _encoded(payload), _tokens(payload))

    async def get(self, path: str) -> Reply:
        """GET a JSON document."""
        return await self._call("GET", path, None, 0)

    async def events(self, path: str, payload: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        """POST `payload` and give the decoded data of each event, until `[DONE]`; one try, no retries.

        Closing it closes the connection, which is how a server learns that nobody listens. Raises the classified
        errors; Disconnected when the stream breaks off or stalls.
        """
        decoder = SseDecoder()
        await self._limiter().admit(_tokens(payload))
        async with self._request("POST", path, _encoded(payload)) as response:
            if response.status != 200:
                raise self._error(response.status, response.headers, await self._read(response, path))
            if response.content_type != "text/event-stream":
                raise MalformedReply(
                    self.endpoint, f"{path} stream", f"comes as {printable(response.content_type, 40)}"
                )
            chunks = response.content.iter_any()
            while True:
                try:
                    async with asyncio.timeout(self._stall_timeout):
                        chunk = await anext(chunks, b"")
                except TimeoutError:
                    raise Disconnected(f"no data for {self._stall_timeout:g} s", endpoint=self.endpoint) from None
                if not chunk:
                    raise Disconnected("the stream broke off", endpoint=self.endpoint)
                for data in self._decoded(decoder, chunk, path):
                    if data == "[DONE]":
                        return
                    yield self._event(data, path)

    async def aclose(self) -> None:
        """Close the session; calls under way end in an error. Safe to call twice."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(self, method: str, path: str, body: bytes | None, tokens: float) -> Reply:
        limiter = self._limiter()
        # Waiting for one's turn is not the server's slowness: the deadline begins when the first try may go.
        await limiter.admit(tokens)
        tries = 0

        async def attempt() -> Reply:
            nonlocal tries
            tries += 1
            if tries > 1:
                await limiter.admit(tokens)
            return await self._attempt(method, path, body)

        try:
            return await call_with_retries(attempt, deadline=self.deadline)
        except UnavailableError as error:
            error.endpoint = error.endpoint or self.endpoint
            raise

    async def _attempt(self, method: str, path: str, body: bytes | None) -> Reply:
        async with self._request(method, path, body) as response:
            raw = await self._read(response, path)
        if response.status != 200:
            raise self._error(response.status, response.headers, raw)
        return Reply(self._json(raw, path), response.headers.get("x-request-id", ""))

    @asynccontextmanager
    async def _request(self, method: str, path: str, body: bytes | None) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"content-type": "application/json"} if body is not None else {}
        if self._api_key is not None:
            headers["authorization"] = f"Bearer {self._api_key.get_secret_value()}"
        url = self.base_url + path
        try:
            async with self._open().request(method, url, data=body, headers=headers, allow_redirects=False) as response:
                self._limiter().learn(response.headers)
                yield response
        except aiohttp.ClientError as error:
            raise translated(error, self.endpoint) from None

    async def _read(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_REPLY_BYTES:
                raise MalformedReply(self.endpoint, f"{path} body", f"is larger than {MAX_REPLY_BYTES >> 20} MiB")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _decoded(self, decoder: SseDecoder, chunk: bytes, path: str) -> list[str]:
        try:
            return decoder.decode(chunk)
        except UnicodeDecodeError:
            raise MalformedReply(self.endpoint, f"{path} stream", "is not UTF-8 text") from None

    def _event(self, data: str, path: str) -> Any:
        """An event's JSON. An error may come inside a 200 stream, with the status it would have had in `code`."""
        event = self._json(data, path)
        if isinstance(event, dict) and event.get("error"):
            detail = event["error"]
            code = detail.get("code") if isinstance(detail, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise self._refine(error_for_status(self.endpoint, status, {}, event), event)
        return event

    def _json(self, raw: bytes | str, path: str) -> Any:
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise MalformedReply(self.endpoint, f"{path} body", "is not JSON") from None

    def _error(self, status: int, headers: Mapping[str, str], raw: bytes) -> EndpointError:
        try:
            body: Any = json.loads(raw)
        except (ValueError, RecursionError):
            body = raw.decode("utf-8", "replace")
        error = self._refine(error_for_status(self.endpoint, status, headers, body), body)
        if isinstance(error, RateLimitedError) and error.retry_after:
            self._limiter().pause(error.retry_after)
        return error

    def _limiter(self) -> Account:
        if self._account is None:
            self._account = account(self.base_url, self._api_key)
            if self._limits is not None:
                self._account.wish(self._limits)
        return self._account

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise UsageError(f"{self.endpoint}: it is closed, and answers no more")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=KEEP_ALIVE_SECONDS)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
            # Not aiohttp's trust_env: it would send what stands in a ~/.netrc, too.
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, proxy=_proxy(self.base_url))
        return self._session


def _proxy(url: str) -> str | None:
    """The environment's proxy for the way out; none for a server on this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("127.0.0.1", "localhost", "::1") or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def _encoded(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False).encode()


def _tokens(payload: Mapping[str, Any]) -> float:
    """About how many tokens a request may take: what providers count against an account before they answer."""
    prompt = payload.get("prompt")
    size = len(prompt) / CHARACTERS_A_TOKEN if isinstance(prompt, str) else 0.0
    return size + float(payload.get("max_tokens", 0))
