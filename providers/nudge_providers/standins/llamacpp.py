"""A stand-in for llama.cpp's server (2026.10), without its timings but in streams that ask for them."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from nudge_providers.standins.server import PROMPT_END, Generated, ToyServer


class StandIn(ToyServer):
    """llama.cpp: chat-style logprobs, one entry a character, `echo` ignored without a word."""

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/apply-template", self._template)
        router.add_post("/tokenize", self._tokenize)
        router.add_get("/props", self._props)
        router.add_get("/v1/models", self._models)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        done = self.generate(body)
        choice = self._choice(done.text, _content(done), done.finish)
        return {**_head(), "choices": [choice], "usage": _usage(body, done)}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        done = self.generate(body)
        events = []
        for number, item in enumerate(_content(done), start=1):
            event = {**_head(), "choices": [self._choice(item["token"], [item], None)]}
            if body.get("timings_per_token"):
                event["timings"] = {"cache_n": 0, "prompt_n": len(body["prompt"]), "predicted_n": number}
            events.append(event)
        return [*events, {**_head(), "choices": [self._choice("", [], done.finish)], "usage": _usage(body, done)}]

    def too_long(self, size: int) -> web.Response | None:
        if size <= self.window:
            return None
        error = {
            "code": 400,
            "message": f"request ({size} tokens) exceeds the available context size ({self.window} tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": size,
            "n_ctx": self.window,
        }
        return web.json_response({"error": error}, status=400)

    def _choice(self, text: str, content: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
        logprobs = {"content": content} if self.logprobs and content else None
        return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}

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
    logprob = math.log(probability)
    top = {"id": 7, "token": token, "bytes": list(token.encode()), "logprob": logprob}
    return {**top, "top_logprobs": [top], **changes}


def _content(done: Generated) -> list[dict[str, Any]]:
    """The byte-tokens of one character come as one entry, with the last one's logprob; a cut one as none."""
    return [entry(token.text, token.probability) for token in done.tokens if token.text]


def _head() -> dict[str, Any]:
    return {
        "created": 1795256055,
        "model": "toy.gguf",
        "system_fingerprint": "b0-unknown",
        "object": "text_completion",
        "id": "chatcmpl-standin",
    }


def _usage(body: dict[str, Any], done: Generated) -> dict[str, Any]:
    prompt = len(body["prompt"])
    return {
        "completion_tokens": done.count,
        "prompt_tokens": prompt,
        "total_tokens": prompt + done.count,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
