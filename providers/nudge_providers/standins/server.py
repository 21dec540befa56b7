"""What every stand-in shares: a toy model behind HTTP, with latencies and faults. The dialects are subclasses."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aiohttp import web

from nudge_providers.request_ids import HEADER
from nudge_providers.standins.toys import Model, Written, spelled

PROMPT_END = "<|answer|>"
CUT = "\ufffd"  # what servers put for the bytes of a character that the limit cut short
EXTRA_HEADERS = "extra_headers"  # of a request: what a fault that lets it pass adds to its reply
Fault = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds. round_trip: of the way there and back. first: to the first token. token: of each one after it.

    prompt_token: of each token of a prompt whose log-probabilities are asked for.
    """

    round_trip: float = 0.0
    first: float = 0.0
    token: float = 0.0
    prompt_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Generated:
    """What a model wrote for a request. text: with CUT where the limit fell inside a character."""

    text: str
    tokens: tuple[Written, ...]
    finish: str

    @property
    def count(self) -> int:
        """Tokens generated, the end of sequence included."""
        return len(self.tokens) + (self.finish == "stop")


class ToyServer(ABC):
    """Serves `model` after whatever stands behind the last PROMPT_END of a prompt.

    fault: called before each completion with the request and its body; a response of its own goes out instead.
    logprobs: False leaves them null. adds_bos: whether prompts are given a BOS. window: context length, in characters.
    by_bytes: whether characters beyond ASCII have several byte-tokens. topics: the first of them that stands in a
    prompt is told to the model, so that different questions have different answers. name: of the model that is served.
    """

    path = "/v1/completions"
    json_type = "application/json"
    stream_type = "text/event-stream"

    def __init__(
        self,
        model: Model,
        *,
        adds_bos: bool = False,
        logprobs: bool = True,
        window: int = 4096,
        by_bytes: bool = False,
        latency: Latency | None = None,
        topics: Sequence[str] = (),
        name: str = "toy",
    ) -> None:
        self.model = model
        self.adds_bos = adds_bos
        self.logprobs = logprobs
        self.window = window
        self.by_bytes = by_bytes
        self.latency = latency or Latency()
        self.topics = topics
        self.name = name
        self.fault: Fault | None = None
        self.bodies: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.url = ""
        self._runner: web.AppRunner | None = None

    @abstractmethod
    def routes(self, router: web.UrlDispatcher) -> None:
        """What the server has beside completions."""

    @abstractmethod
    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """What it sends for a completion."""

    @abstractmethod
    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What it streams: an event a token, then whatever ends its streams."""

    def refusal(self, body: dict[str, Any]) -> web.Response | None:
        """What it answers to a request that it refuses."""
        return None

    def signed(self, data: dict[str, Any], request_id: str) -> dict[str, Any]:
        """A reply or an event with the id that belongs to the request."""
        return data

    def json(self, data: Any, status: int = 200) -> web.Response:
        """A reply, written as the real servers write it."""
        return web.Response(body=compact(data), status=status, headers={"content-type": self.json_type})

    async def start(self, *, port: int = 0, tls: ssl.SSLContext | None = None, **options: Any) -> ToyServer:
        """Listen on 127.0.0.1; `url` is set then. tls: with the certificate to show."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post(self.path, self._complete)
        app.on_response_prepare.append(_add_headers)
        self.routes(app.router)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, **options)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls).start()
        host, bound = self._runner.addresses[0][:2]
        self.url = f"{'https' if tls else 'http'}://{host}:{bound}"
        return self

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner:
            await self._runner.cleanup()

    def answer_in(self, prompt: str) -> str:
        """The part of a prompt that the model is asked to continue, behind its topic's number."""
        topic = next((f"{index}\0" for index, topic in enumerate(self.topics) if topic in prompt), "")
        return topic + prompt.rpartition(PROMPT_END)[2]

    def generate(self, body: dict[str, Any]) -> Generated:
        """What the model writes for a request."""
        text = self.answer_in(body["prompt"])
        begin, limit = len(text), body["max_tokens"]
        tokens: list[Written] = []
        while len(tokens) < limit:
            following = self.model(text)
            if following is None:
                return Generated(text[begin:], tuple(tokens), "stop")
            spelling = spelled(*following, by_bytes=self.by_bytes)[: limit - len(tokens)]
            tokens += spelling
            text += "".join(token.text for token in spelling)
        cut = CUT if tokens and not tokens[-1].text else ""
        return Generated(text[begin:] + cut, tuple(tokens), "length")

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.connections.add(request.transport)
        if self.fault and (response := await self.fault(request, body)) is not None:
            return response
        if (refusal := self.refusal(body)) is not None:
            return refusal
        began = asyncio.get_running_loop().time() + self.latency.round_trip + self._reading(body)
        if body.get("stream"):
            return await self._stream(request, body, began)
        reply = self.reply(body)
        await _until(began + self.latency.token * (reply["usage"]["completion_tokens"] - 1))
        return self.json(self.signed(reply, request.headers.get(HEADER, "")))

    async def _stream(self, request: web.Request, body: dict[str, Any], began: float) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": self.stream_type})
        try:
            await response.prepare(request)
        except ConnectionError:  # it has hung up before a word was said
            return response
        request_id = request.headers.get(HEADER, "")
        events = [compact(self.signed(event, request_id)) for event in self.events(body)]
        for number, data in enumerate([*events, b"[DONE]"]):
            await _until(began + self.latency.token * min(number, body["max_tokens"] - 1))
            try:
                await response.write(b"data: " + data + b"\n\n")
            except ConnectionError:  # nobody listens any more
                return response
        with suppress(ConnectionError):
            await response.write_eof()
        return response

    def _reading(self, body: dict[str, Any]) -> float:
        """Seconds until the first token."""
        scored = len(body["prompt"]) / 4 if body.get("echo") else 0
        return self.latency.first + scored * self.latency.prompt_token


def compact(data: Any) -> bytes:
    """JSON without spaces, in UTF-8."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(request.get(EXTRA_HEADERS, {}))


async def _until(moment: float) -> None:
    left = moment - asyncio.get_running_loop().time()
    if left > 0:
        await asyncio.sleep(left)


Server = TypeVar("Server", bound=ToyServer)


class Thread(Generic[Server]):
    """An event loop of its own, for servers of code that has none."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, coroutine: Any) -> Any:
        """Run it there, and wait for what it gives."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@contextmanager
def served(*servers: ToyServer) -> Iterator[None]:
    """Stand-ins served from a thread of their own, for code that has no event loop or is another process."""
    thread: Thread[ToyServer] = Thread()
    for server in servers:
        thread.call(server.start())
    try:
        yield
    finally:
        for server in servers:
            thread.call(server.stop())
        thread.close()
