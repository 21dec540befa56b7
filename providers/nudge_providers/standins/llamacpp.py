"""A stand-in for llama.cpp's server (2026.10). Its sampler settings, slots and metrics are left out."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from nudge_providers.standins.server import CUT, PROMPT_END, Generated, ToyServer
from nudge_providers.standins.toys import ranked

FILE = "models/toy-7b.gguf"
MILLISECONDS = 10.5  # a token, in its timings


class StandIn(ToyServer):
    """llama.cpp: chat-style logprobs, one entry a character, `echo` and the model's name ignored without a word."""

    json_type = "application/json; charset=utf-8"

    slots = 4

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/apply-template", self._template)
        router.add_post("/tokenize", self._tokenize)
        router.add_get("/health", self._health)
        router.add_get("/props", self._props)
        router.add_get("/v1/models", self._models)
        router.add_route("*", "/{path:.*}", self._unknown)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        done = self.generate(body)
        entries = [item for item, _ in _content(done, body.get("logprobs"))]
        return {"choices": [self._choice(done.text, entries, done.finish)], **_head(), **_ending(body, done)}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        done = self.generate(body)
        events = []
        for item, number in _content(done, body.get("logprobs")):
            event = {"choices": [self._choice(item["token"], [item], None)], **_head()}
            if body.get("timings_per_token"):
                event["timings"] = _timings(body, number)
            events.append(event)
        return [*events, {"choices": [self._choice("", [], done.finish)], **_head(), **_ending(body, done)}]

    def refusal(self, body: dict[str, Any]) -> web.Response | None:
        size = len(body["prompt"])
        if size <= self.window:
            return None
        error = {
            "code": 400,
            "message": f"request ({size} tokens) exceeds the available context size ({self.window} tokens), "
            "try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": size,
            "n_ctx": self.window,
        }
        return self.json({"error": error}, 400)

    def _choice(self, text: str, content: list[dict[str, Any]], finish: str | None) -> dict[str, Any]:
        logprobs = {"content": content} if self.logprobs and content else None
        return {"text": text, "index": 0, "logprobs": logprobs, "finish_reason": finish}

    async def _template(self, request: web.Request) -> web.Response:
        messages = (await request.json())["messages"]
        turns = "".join(f"<|{m['role']}|>{m['content']}" for m in messages)
        return self.json({"prompt": turns + PROMPT_END})

    async def _tokenize(self, request: web.Request) -> web.Response:
        """Ids are code points here."""
        body = await request.json()
        bos = [2] if self.adds_bos and body.get("add_special") else []
        return self.json({"tokens": [*bos, *map(ord, body["content"])]})

    async def _health(self, request: web.Request) -> web.Response:
        return self.json({"status": "ok"})

    async def _props(self, request: web.Request) -> web.Response:
        facts = {
            "default_generation_settings": {"params": {}, "n_ctx": self.window},
            "total_slots": self.slots,
            "model_alias": "toy.gguf",
            "model_path": FILE,
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "chat_template": "{{ messages[-1].content }}" + PROMPT_END,
            "build_info": "b0-unknown",
        }
        return self.json(facts)

    async def _models(self, request: web.Request) -> web.Response:
        model = {
            "id": FILE,
            "aliases": [FILE],
            "object": "model",
            "created": 1795256055,
            "owned_by": "llamacpp",
            "meta": {"n_ctx": self.window},
        }
        return self.json({"models": [], "object": "list", "data": [model]})

    async def _unknown(self, request: web.Request) -> web.Response:
        return self.json({"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}, 404)


def entry(token: str, probability: float, number: int = 1, **changes: Any) -> dict[str, Any]:
    """One entry of `logprobs.content`, with the `number` most probable tokens."""
    tops = [
        {"id": 7 + rank, "token": text, "bytes": list(text.encode()), "logprob": math.log(value)}
        for rank, (text, value) in enumerate(ranked(token, probability, max(number, 1)))
    ]
    return {**tops[0], "top_logprobs": tops, **changes}


def _content(done: Generated, asked: Any) -> list[tuple[dict[str, Any], int]]:
    """The entries, each with the number of tokens generated until then.

    The byte-tokens of one character come as one entry with the last one's logprob, whose list shows that byte as a
    cut character; a cut one comes as none. The end of sequence is an entry without text.
    """
    found: list[tuple[dict[str, Any], int]] = []
    size = asked if isinstance(asked, int) else 1
    in_bytes = False
    for number, token in enumerate(done.tokens, start=1):
        if token.text:
            item = entry(token.text, token.probability, size)
            if in_bytes:
                item["top_logprobs"][0] |= {"token": CUT, "bytes": item["bytes"][-1:]}
            found.append((item, number))
        in_bytes = not token.text
    if done.finish == "stop":
        found.append((entry("", 0.9, size), done.count))
    return found


def _head() -> dict[str, Any]:
    return {
        "created": 1795256055,
        "model": "toy.gguf",
        "system_fingerprint": "b0-unknown",
        "object": "text_completion",
        "id": "chatcmpl-standin",
    }


def _ending(body: dict[str, Any], done: Generated) -> dict[str, Any]:
    """What a whole reply and the last event of a stream tell beside the text."""
    prompt = len(body["prompt"])
    usage = {
        "completion_tokens": done.count,
        "prompt_tokens": prompt,
        "total_tokens": prompt + done.count,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    return {"usage": usage, "timings": _timings(body, done.count)}


def _timings(body: dict[str, Any], written: int) -> dict[str, Any]:
    found: dict[str, Any] = {"cache_n": 0}
    for name, count in (("prompt", len(body["prompt"])), ("predicted", written)):
        found |= {
            f"{name}_n": count,
            f"{name}_ms": MILLISECONDS * count,
            f"{name}_per_token_ms": MILLISECONDS,
            f"{name}_per_second": 1000 / MILLISECONDS,
        }
    return found
