"""A stand-in for llama.cpp's server, over a toy model: the same shapes on the wire, and faults to order."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from tests.toys import Model

PROMPT_END = "<|answer|>"
Fault = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse | None]]


class StandIn:
    """Serves `model` after whatever prompt ends in PROMPT_END, or after the base prompt's last line.

    fault: called before each completion with the request and its body; a response of its own goes out instead.
    logprobs: False leaves them null. adds_bos: whether prompts are given a BOS.
    """

    def __init__(self, model: Model, *, adds_bos: bool = False, logprobs: bool = True, window: int = 4096) -> None:
        self.model = model
        self.adds_bos = adds_bos
        self.logprobs = logprobs
        self.window = window
        self.fault: Fault | None = None
        self.bodies: list[dict[str, Any]] = []
        self.connections: set[Any] = set()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self, **options: Any) -> StandIn:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/completions", self._complete)
        self.routes(app.router)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, **options)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    def routes(self, router: web.UrlDispatcher) -> None:
        """What the server has beside completions."""
        router.add_post("/apply-template", self._template)
        router.add_post("/tokenize", self._tokenize)
        router.add_get("/props", self._props)
        router.add_get("/v1/models", self._models)

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.connections.add(request.transport)
        if self.fault and (response := await self.fault(request, body)) is not None:
            return response
        size = len(body["prompt"])
        if size > self.window:
            error = {
                "code": 400,
                "message": f"request ({size} tokens) exceeds the available context size ({self.window} tokens)",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": size,
                "n_ctx": self.window,
            }
            return web.json_response({"error": error}, status=400)
        if body.get("stream"):
            return await self._stream(request, body)
        return web.json_response(self.reply(body))

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in [*self.events(body), "[DONE]"]:
            data = event if isinstance(event, str) else json.dumps(event)
            await response.write(f"data: {data}\n\n".encode())
        await response.write_eof()
        return response

    def tokens(self, body: dict[str, Any]) -> tuple[list[tuple[str, float]], str]:
        """What the model writes for a request, and how it finishes."""
        text = body["prompt"].rpartition(PROMPT_END)[2]
        written: list[tuple[str, float]] = []
        for _ in range(body["max_tokens"]):
            following = self.model(text)
            if following is None:
                return written, "stop"
            written.append(following)
            text += following[0]
        return written, "length"

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What llama.cpp streams: an event a token, then one with empty text and the usage."""
        whole = self.reply(body)
        usage, choice = whole.pop("usage"), whole["choices"][0]
        content = (choice["logprobs"] or {"content": []})["content"]
        events = [
            {
                **whole,
                "choices": [{**choice, "text": item["token"], "logprobs": {"content": [item]}, "finish_reason": None}],
            }
            for item in content
        ]
        return [*events, {**whole, "choices": [{**choice, "text": "", "logprobs": None}], "usage": usage}]

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """What llama.cpp sends for a completion (2026.10), without its timings."""
        listed, finish = self.tokens(body)
        content = [entry(token, probability) for token, probability in listed]
        written = "".join(token for token, _ in listed)
        return {
            "choices": [
                {
                    "text": written,
                    "index": 0,
                    "logprobs": {"content": content} if self.logprobs and content else None,
                    "finish_reason": finish,
                }
            ],
            "created": 1795256055,
            "model": "toy.gguf",
            "system_fingerprint": "b0-unknown",
            "object": "text_completion",
            "usage": {
                "completion_tokens": len(content) + (finish == "stop"),
                "prompt_tokens": len(body["prompt"]),
                "total_tokens": len(body["prompt"]) + len(content),
                "prompt_tokens_details": {"cached_tokens": 0},
            },
            "id": "chatcmpl-standin",
        }

    async def _template(self, request: web.Request) -> web.Response:
        messages = (await request.json())["messages"]
        turns = "".join(f"<|{m['role']}|>{m['content']}" for m in messages)
        return web.json_response({"prompt": turns + PROMPT_END})

    async def _tokenize(self, request: web.Request) -> web.Response:
        return web.json_response({"tokens": [2] if self.adds_bos else []})

    async def _props(self, request: web.Request) -> web.Response:
        facts = {
            "default_generation_settings": {"params": {}, "n_ctx": self.window},
            "total_slots": 4,
            "model_alias": "toy.gguf",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
        }
        return web.json_response(facts)

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": "models/toy-7b.gguf", "aliases": ["models/toy-7b.gguf"], "object": "model"}
        return web.json_response({"models": [], "object": "list", "data": [model]})


def entry(token: str, probability: float, **changes: Any) -> dict[str, Any]:
    """One entry of `logprobs.content`."""
    import math

    logprob = math.log(probability)
    top = {"id": 7, "token": token, "bytes": list(token.encode()), "logprob": logprob}
    return {**top, "top_logprobs": [top], **changes}


@contextmanager
def served(*standins: StandIn) -> Iterator[None]:
    """Stand-ins served from a thread of their own, for code that has no event loop or is another process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    for standin in standins:
        call(standin.start())
    try:
        yield
    finally:
        for standin in standins:
            call(standin.stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
