"""Connections, retries and deadlines, against servers that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from nudge_providers import (
    AuthenticationError,
    MalformedReply,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    UsageError,
)
from nudge_providers.http_transport import KEEP_ALIVE_SECONDS, HttpTransport, _proxy

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class RawServer:
    """A TCP server that answers with whatever bytes it is told to; `connections` counts them."""

    def __init__(self) -> None:
        self.replies: list[bytes | None] = []  # None: close without a word
        self.connections = 0
        self.requests = 0
        self.heads: list[bytes] = []
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                self.requests += 1
                self.heads.append(head)
                reply = self.replies.pop(0) if self.replies else OK
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
                if b"connection: close" in reply:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    made = RawServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def http(server: RawServer) -> AsyncIterator[HttpTransport]:
    made = HttpTransport("toy", server.url, deadline=5)
    yield made
    await made.aclose()


def status(code: int, body: bytes = b"{}", headers: str = "") -> bytes:
    return f"HTTP/1.1 {code} X\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


async def test_one_connection_serves_many_calls(server: RawServer, http: HttpTransport) -> None:
    for _ in range(5):
        assert (await http.post("/x", {})).data == {}
    assert server.connections == 1


def test_trap_9_idle_connections_go_before_the_server_closes_them() -> None:
    assert KEEP_ALIVE_SECONDS < 5  # vLLM and llama.cpp close after about 5 s


async def test_trap_9_a_stale_connection_is_tried_again_on_a_fresh_one(server: RawServer, http: HttpTransport) -> None:
    server.replies = [OK, None]
    await http.post("/x", {})
    assert (await http.post("/x", {})).data == {}
    assert server.connections == 2


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
async def test_passing_failures_are_tried_again(server: RawServer, http: HttpTransport, code: int) -> None:
    server.replies = [status(code), status(code)]
    assert (await http.post("/x", {})).data == {}
    assert server.requests == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, RejectedError),
        (401, AuthenticationError),
        (403, AuthenticationError),
        (404, NotFoundError),
        (405, RejectedError),
        (422, RejectedError),
        (501, RejectedError),
        (301, RejectedError),
    ],
)
async def test_lasting_failures_are_not(server: RawServer, http: HttpTransport, code: int, kind: type) -> None:
    server.replies = [status(code, b'{"error": {"message": "because"}}', "x-request-id: r-7\r\n")]
    with pytest.raises(kind, match=f"HTTP {code}, request r-7") as caught:
        await http.post("/x", {})
    assert server.requests == 1
    assert code == 301 or "because" in str(caught.value)


async def test_retry_after_is_kept_and_the_deadline_covers_the_waits(server: RawServer) -> None:
    http = HttpTransport("toy", server.url, deadline=0.5)
    server.replies = [status(429, headers="retry-after: 30\r\n")]
    before = asyncio.get_running_loop().time()
    with pytest.raises(RateLimitedError) as caught:
        await http.post("/x", {})
    assert caught.value.retry_after == 30
    assert asyncio.get_running_loop().time() - before < 5, "a wait that ends after the deadline is not begun"
    await http.aclose()


async def test_a_silent_server_ends_at_the_deadline() -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = HttpTransport("toy", f"http://127.0.0.1:{port}", deadline=0.2)
    with pytest.raises(UnavailableError, match=r"toy: no answer within 0.2 s"):
        await http.post("/x", {})
    await http.aclose()
    await gone.wait()
    server.close()


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        unused_tcp_port = free.getsockname()[1]
    http = HttpTransport("toy", f"http://127.0.0.1:{unused_tcp_port}", deadline=60)
    with pytest.raises(UnavailableError, match="cannot connect"):
        await http.get("/x")
    await http.aclose()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (status(200, b"<html>hi</html>"), "not JSON"),
        (status(200, b"[" * 100000), "not JSON"),
        (status(200, b"\xff\xfe{"), "not JSON"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
    ],
)
async def test_replies_that_are_none(server: RawServer, http: HttpTransport, reply: bytes, message: str) -> None:
    server.replies = [reply]
    with pytest.raises(MalformedReply, match=message):
        await http.post("/x", {})
    assert server.requests == 1


async def test_a_body_that_breaks_off_is_asked_for_again(server: RawServer, http: HttpTransport) -> None:
    server.replies = [b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\nconnection: close\r\n\r\n{"]
    assert (await http.post("/x", {})).data == {}


async def test_a_page_for_an_error(server: RawServer, http: HttpTransport) -> None:
    server.replies = [status(404, b"<!doctype html><html><body>secret stack</body></html>")]
    with pytest.raises(NotFoundError, match="an HTML page") as caught:
        await http.post("/x", {})
    assert "stack" not in str(caught.value)


async def test_the_key_is_sent_and_never_shown(server: RawServer, caplog: pytest.LogCaptureFixture) -> None:
    from pydantic import SecretStr

    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["authorization"])
        return web.json_response({"error": "no"}, status=401)

    app = web.Application()
    app.router.add_post("/x", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    http = HttpTransport("toy", f"http://127.0.0.1:{runner.addresses[0][1]}", api_key=SecretStr("sk-planted"))
    with caplog.at_level("DEBUG"), pytest.raises(AuthenticationError) as caught:
        await http.post("/x", {})
    assert seen == ["Bearer sk-planted"]
    assert "planted" not in str(caught.value) + repr(caught.value) + repr(vars(http)) + caplog.text
    await http.aclose()
    await runner.cleanup()


async def test_netrc_is_never_read(server: RawServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.2 login me password planted\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    http = HttpTransport("toy", server.url.replace("127.0.0.1", "localhost"))
    await http.get("/x")
    assert server.heads
    assert not any(b"authorization" in head.lower() for head in server.heads)
    await http.aclose()


def test_proxies_are_for_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside")
    assert _proxy("http://api.example") == "http://proxy:3128"
    assert _proxy("http://127.0.0.1:1") is None
    assert _proxy("http://inside:1") is None


async def test_nothing_is_sent_after_closing(server: RawServer) -> None:
    http = HttpTransport("toy", server.url, deadline=5)
    server.replies = [status(503)] * 50
    call = asyncio.create_task(http.get("/x"))
    while not server.requests:
        await asyncio.sleep(0.01)
    await http.aclose()
    with pytest.raises(UsageError, match="closed"):
        await call
    sent = server.requests
    with pytest.raises(UsageError, match="closed"):
        await http.get("/x")
    assert server.requests == sent


async def test_a_host_that_does_not_answer_the_connection() -> None:
    """A full backlog: the connection is never made, and that is not waited for long."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        http = HttpTransport("toy", f"http://{address[0]}:{address[1]}", deadline=30, connect_timeout=0.3)
        with pytest.raises(UnavailableError, match="no connection in time"):
            await http.get("/x")
        await http.aclose()
        for filler in fillers:
            filler.close()
