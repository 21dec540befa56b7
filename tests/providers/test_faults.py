"""The fault table: every fault, on every adapter, whole and streamed. Printed as a matrix with no empty cell.

A recoverable fault happens once and is recovered from, without a wrong, lost or doubled token; any other ends in its
error class, within the deadline.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from aiohttp import web

from nudge_providers import UnavailableError, transport
from nudge_providers.completions import CompletionProvider
from nudge_providers.standins import StandIn
from nudge_providers.transport import Incoming
from nudge_providers.types import Token
from tests.providers.faults import ASK, FAULTS, Fault, reset
from tests.providers.test_dialects import ADAPTERS, NUDGER, adapter, standin_for

MATRIX: dict[tuple[str, str], str] = {}


def cell(name: str, dialect: str, streamed: bool) -> tuple[str, str]:
    return name, f"{dialect} {'streamed' if streamed else 'whole'}"


async def ask(provider: CompletionProvider, streamed: bool) -> list[Token]:
    if not streamed:
        return list((await provider.complete(ASK)).tokens)
    return [item async for item in provider.stream(ASK) if isinstance(item, Token)]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ADAPTERS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault(fault: Fault, dialect: str, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_REPLY_BYTES", 2**20)
    monkeypatch.setattr(transport, "MAX_EVENT_SIZE", 2**16)
    standin = await standin_for(dialect, NUDGER).start()
    provider = adapter(dialect, standin.url, 8)
    provider._http._stall_timeout = 0.3
    right = await ask(provider, streamed)
    expected = fault.error if streamed else fault.error or fault.whole_error
    if expected is UnavailableError:
        provider._http.deadline = 0.5
    assert any("🎉" in token.text for token in right)
    done = 0

    async def once(request: web.Request, body: dict[str, Any]) -> web.StreamResponse | None:
        nonlocal done
        done += 1
        return await fault.respond(standin, request, body) if done == 1 or expected else None

    standin.fault = once
    try:
        if expected is None:
            found = await ask(provider, streamed)
            assert [token._replace(top=()) for token in found] == [token._replace(top=()) for token in right]
            assert done == fault.tries
            MATRIX[cell(fault.name, dialect, streamed)] = "recovered" if done > 1 else "right at once"
        else:
            async with asyncio.timeout(10):
                with pytest.raises(expected, match=fault.says) as caught:
                    await ask(provider, streamed)
            MATRIX[cell(fault.name, dialect, streamed)] = type(caught.value).__name__
    finally:
        await provider.aclose()
        await standin.stop()


# Faults on the way to a server, before it has read a word


@dataclass
class Way:
    """A server and the way to it. tries: requests that were tried since the way was broken."""

    standin: StandIn
    provider: CompletionProvider
    tries: int = 0

    def count(self, then: Callable[[], Awaitable[Any]] | None = None) -> None:
        """Count the tries from now on; the first that fails is followed by `then`."""
        http = self.provider._http
        request = http._request

        @asynccontextmanager
        async def counted(*args: Any) -> AsyncIterator[Incoming]:
            self.tries += 1
            try:
                async with request(*args) as reply:
                    yield reply
            except UnavailableError:
                if then and self.tries == 1:
                    await then()
                raise

        http._request = counted  # type: ignore[method-assign, assignment]


async def refused(way: Way) -> None:
    await way.standin.stop()
    way.provider._http.deadline = 0.5
    way.count()


async def refused_until_it_is_up(way: Way) -> None:
    await way.standin.stop()
    port = urlsplit(way.standin.url).port
    assert port
    way.count(then=lambda: way.standin.start(port=port))


async def stale(way: Way) -> None:
    """The server has dropped its idle connections, and the client has had no time to see it."""
    idle = [connection for connection in way.standin.connections if not connection.is_closing()]
    assert idle
    for connection in idle:
        reset(connection)
    way.count()


WAYS: dict[str, tuple[Callable[[Way], Awaitable[None]], str | None]] = {
    "connection refused": (refused, "cannot connect: Connection refused"),
    "refused, then up": (refused_until_it_is_up, None),
    "stale keep-alive": (stale, None),
}
CERTIFICATE = "certificate unknown"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ADAPTERS)
@pytest.mark.parametrize("name", WAYS)
async def test_fault_on_the_way(name: str, dialect: str, streamed: bool) -> None:
    breaks, error = WAYS[name]
    standin = await standin_for(dialect, NUDGER).start()
    provider = adapter(dialect, standin.url, 8)
    right = await ask(provider, streamed)
    if streamed:
        await ask(provider, False)  # a whole reply leaves its connection behind
    way = Way(standin, provider)
    await breaks(way)
    try:
        if error:
            async with asyncio.timeout(5):
                with pytest.raises(UnavailableError, match=error):
                    await ask(provider, streamed)
        else:
            assert await ask(provider, streamed) == right
            assert way.tries == 2
        MATRIX[cell(name, dialect, streamed)] = "UnavailableError" if error else "recovered"
    finally:
        await provider.aclose()
        await standin.stop()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ADAPTERS)
async def test_a_certificate_that_does_not_verify(dialect: str, streamed: bool) -> None:
    """It will not verify the next time either: one try, however long the deadline."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    standin = await standin_for(dialect, NUDGER).start(tls=tls)
    assert standin.url.startswith("https://127.0.0.1:")
    way = Way(standin, adapter(dialect, standin.url, 60))
    way.count()
    try:
        async with asyncio.timeout(10):
            with pytest.raises(UnavailableError, match="the TLS connection failed") as caught:
                await ask(way.provider, streamed)
        assert "certificate" in str(caught.value)
        assert way.tries == 1
        assert not standin.bodies
        MATRIX[cell(CERTIFICATE, dialect, streamed)] = "UnavailableError"
    finally:
        await way.provider.aclose()
        await standin.stop()


def test_the_matrix_has_no_empty_cell() -> None:
    columns = [f"{dialect} {way}" for dialect in ADAPTERS for way in ("whole", "streamed")]
    rows = [*(fault.name for fault in FAULTS), *WAYS, CERTIFICATE]
    if len(MATRIX) < len(rows):
        pytest.skip("the faults ran elsewhere")
    width = max(map(len, rows))
    print("\n" + " " * width, *(f"{column:22}" for column in columns))
    for row in rows:
        print(f"{row:{width}}", *(f"{MATRIX[row, column]:22}" for column in columns))
    assert len(MATRIX) == len(rows) * len(columns)
