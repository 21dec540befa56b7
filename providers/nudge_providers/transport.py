"""The shared way to a server: one pooled aiohttp session an endpoint, JSON in, JSON out, errors classified."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from nudge_providers.errors import EndpointError, MalformedReply, UnavailableError
from nudge_providers.http_errors import error_for_status
from nudge_providers.retry import Disconnected, Unreachable, call_with_retries

# vLLM and llama.cpp close an idle socket after about 5 s; a request on one that is closing fails. Let go sooner.
KEEP_ALIVE_SECONDS = 3.0
MAX_REPLY_BYTES = 64 * 1024 * 1024

Refine = Callable[[EndpointError, Any], EndpointError]


class Reply(NamedTuple):
    """A decoded JSON body and the server's id for the request, if it gave one."""

    data: Any
    request_id: str


def _no_refinement(error: EndpointError, _body: object) -> EndpointError:
    return error


class HttpTransport:
    """Requests to one base URL.

    endpoint: how errors name it. api_key: sent as a bearer token, shown nowhere.
    deadline: seconds for one call, retries and waits included. connect_timeout: seconds for one connection.
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
        max_connections: int = 256,
        refine: Refine = _no_refinement,
    ) -> None:
        self.endpoint = endpoint
        self.base_url = base_url
        self.deadline = deadline
        self._api_key = api_key
        self._connect_timeout = connect_timeout
        self._max_connections = max_connections
        self._refine = refine
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, payload: Mapping[str, Any]) -> Reply:
        """POST `payload` as JSON; the decoded reply. Raises the classified errors of this package."""
        return await self._call("POST", path, json.dumps(payload, ensure_ascii=False).encode())

    async def get(self, path: str) -> Reply:
        """GET a JSON document."""
        return await self._call("GET", path, None)

    async def aclose(self) -> None:
        """Close the session. Safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _call(self, method: str, path: str, body: bytes | None) -> Reply:
        try:
            status, headers, raw = await call_with_retries(
                lambda: self._attempt(method, path, body), deadline=self.deadline
            )
        except UnavailableError as error:
            error.endpoint = error.endpoint or self.endpoint
            raise
        request_id = headers.get("x-request-id", "")
        if status != 200:
            raise self._error(status, headers, raw)
        try:
            return Reply(json.loads(raw), request_id)
        except (ValueError, RecursionError):
            raise MalformedReply(self.endpoint, f"{path} body", "is not JSON", request_id=request_id) from None

    async def _attempt(self, method: str, path: str, body: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        """One try. Raises what may be tried again; a permanent refusal comes back as a status."""
        session = self._open_session()
        headers = {"content-type": "application/json"} if body is not None else {}
        if self._api_key is not None:
            headers["authorization"] = f"Bearer {self._api_key.get_secret_value()}"
        try:
            async with session.request(
                method, self.base_url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                raw = await self._read(response, path)
                status, reply_headers = response.status, response.headers
        except aiohttp.ClientError as error:
            raise self._translated(error) from None
        except TimeoutError:
            raise Unreachable("no connection in time", endpoint=self.endpoint) from None
        if status in (408, 425, 429) or status >= 500:
            error_now = self._error(status, reply_headers, raw)
            if isinstance(error_now, UnavailableError) or status == 429:
                raise error_now
        return status, reply_headers, raw

    async def _read(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > MAX_REPLY_BYTES:
                raise MalformedReply(self.endpoint, f"{path} body", f"is larger than {MAX_REPLY_BYTES >> 20} MiB")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _error(self, status: int, headers: Mapping[str, str], raw: bytes) -> EndpointError:
        try:
            body: Any = json.loads(raw)
        except (ValueError, RecursionError):
            body = raw.decode("utf-8", "replace")
        return self._refine(error_for_status(self.endpoint, status, headers, body), body)

    def _translated(self, error: aiohttp.ClientError) -> EndpointError:
        """The one boundary where aiohttp's errors become ours. Its texts can hold headers: none is passed on."""
        here = self.endpoint
        if isinstance(error, aiohttp.ClientSSLError):
            failure = Unreachable("the TLS connection failed", endpoint=here, advice="Is the certificate trusted?")
            failure.worth_waiting = 0.0
            return failure
        if isinstance(error, aiohttp.InvalidURL):
            return MalformedReply(here, "url", "cannot be requested")
        if isinstance(error, aiohttp.ClientConnectorError):
            reason = os.strerror(error.os_error.errno) if error.os_error.errno else "no connection"
            return Unreachable(f"cannot connect: {reason}", endpoint=here, advice="Is the server running there?")
        if isinstance(error, aiohttp.ClientResponseError):
            return MalformedReply(here, "response", "is not HTTP")
        return Disconnected("the server closed the connection before its reply was whole", endpoint=here)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=KEEP_ALIVE_SECONDS)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
            # Proxies of the environment are for the way out, never for a server on this machine.
            outward = urlsplit(self.base_url).hostname not in ("127.0.0.1", "localhost", "::1")
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=outward)
        return self._session
