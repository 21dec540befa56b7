"""The transport of most adapters: one pooled aiohttp session an endpoint."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.connector import Connection
from pydantic import SecretStr

from nudge_providers.errors import MalformedReply
from nudge_providers.http_errors import Refine, no_refinement, translated
from nudge_providers.limits import Limits
from nudge_providers.request_ids import HEADER
from nudge_providers.transport import Incoming, Transport

# vLLM and llama.cpp close an idle socket after about 5 s; a request on one that is closing fails. Let go sooner.
KEEP_ALIVE_SECONDS = 3.0


class _Response(aiohttp.ClientResponse):
    """A reply that still knows its connection: aiohttp gives that back as soon as the last byte has come."""

    _way: asyncio.Transport | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        self._way = connection.transport
        return await super().start(connection)

    def hang_up(self) -> None:
        """Let nobody use the connection again."""
        self.close()
        if self._way is not None:
            self._way.close()


class HttpTransport(Transport):
    """Requests to one base URL. See `Transport` for what is not told here.

    api_key: sent as a bearer token, shown nowhere. connect_timeout: seconds for one connection.
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
        limits: Limits | None = None,
        refine: Refine = no_refinement,
    ) -> None:
        owner = (base_url, api_key)
        super().__init__(endpoint, owner, deadline=deadline, stall_timeout=stall_timeout, limits=limits, refine=refine)
        self.base_url = base_url
        self._api_key = api_key
        self._connect_timeout = connect_timeout
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close the session; calls under way end in an error. Safe to call twice."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, payload: Mapping[str, Any] | None, request_id: str
    ) -> AsyncIterator[Incoming]:
        self._check_open()
        headers = {HEADER: request_id}
        if payload is not None:
            headers["content-type"] = "application/json"
        if self._api_key is not None:
            headers["authorization"] = f"Bearer {self._api_key.get_secret_value()}"
        body = _encoded(payload) if payload is not None else None
        url = self.base_url + path
        try:
            async with self._open().request(method, url, data=body, headers=headers, allow_redirects=False) as response:
                try:
                    yield Incoming(response.status, response.headers, response.content.iter_any())
                except MalformedReply:
                    cast(_Response, response).hang_up()
                    raise
        except aiohttp.ClientError as error:
            raise translated(error, self.endpoint) from None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # As many connections as there are requests: the account says how many those may be.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout)
            # Not aiohttp's trust_env: it would send what stands in a ~/.netrc, too.
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, proxy=_proxy(self.base_url), response_class=_Response
            )
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
