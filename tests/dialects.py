"""Stand-ins that speak vLLM's and Together's dialects, over the same toy models.

vLLM's shapes are those of the real server (0.32); Together's are those of its official package's types.
"""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from tests.standin import PROMPT_END, StandIn

EOS = "<|im_end|>"


class VllmStandIn(StandIn):
    """vLLM: legacy lists, the end of sequence among the tokens, templates through ids."""

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_post("/tokenize", self._tokenize)
        router.add_post("/detokenize", self._detokenize)

    def lists(self, listed: list[tuple[str, float]], finish: str) -> dict[str, Any]:
        """Its four parallel lists."""
        listed = [*listed, (EOS, 0.9)] if finish == "stop" else listed
        offsets = [sum(len(token) for token, _ in listed[:index]) for index in range(len(listed))]
        values = [math.log(probability) for _, probability in listed]
        return {
            "text_offset": offsets,
            "token_logprobs": values,
            "tokens": [token for token, _ in listed],
            "top_logprobs": [{token: value} for (token, _), value in zip(listed, values, strict=True)],
        }

    def choice(self, text: str, logprobs: Any, finish: str | None) -> dict[str, Any]:
        empty = {name: None for name in ("stop_reason", "token_ids", "prompt_logprobs", "prompt_token_ids")}
        return {
            "index": 0,
            "text": text,
            "logprobs": logprobs if self.logprobs else None,
            "finish_reason": finish,
            **empty,
        }

    def usage(self, body: dict[str, Any], listed: list[tuple[str, float]], finish: str) -> dict[str, Any]:
        written = len(listed) + (finish == "stop")
        prompt = len(body["prompt"])
        counts = {"prompt_tokens": prompt, "total_tokens": prompt + written, "completion_tokens": written}
        return {**counts, "prompt_tokens_details": None, "completion_tokens_details": None}

    def head(self) -> dict[str, Any]:
        return {"id": "cmpl-standin", "object": "text_completion", "created": 1795261743, "model": "toy"}

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        listed, finish = self.tokens(body)
        text = "".join(token for token, _ in listed)
        choice = self.choice(text, self.lists(listed, finish), finish)
        return {**self.head(), "choices": [choice], "usage": self.usage(body, listed, finish)}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        listed, finish = self.tokens(body)
        items = [*listed, ("", 0.9)] if finish == "stop" else listed
        events = []
        for index, (token, probability) in enumerate(items):
            last = index == len(items) - 1
            logprobs = self.lists([(token or EOS, probability)], "length")
            events.append({**self.head(), "choices": [self.choice(token, logprobs, finish if last else None)]})
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**self.head(), "choices": [], "usage": self.usage(body, listed, finish)})
        return events

    async def _models(self, request: web.Request) -> web.Response:
        model = {"id": "toy", "object": "model", "owned_by": "vllm", "root": "toy", "max_model_len": self.window}
        return web.json_response({"object": "list", "data": [model]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        """Ids are code points here."""
        body = await request.json()
        if "messages" in body:
            text = "".join(f"<|{m['role']}|>{m['content']}" for m in body["messages"]) + PROMPT_END
        else:
            text = body["prompt"] + ("\x02" if self.adds_bos else "")
        ids = [ord(character) for character in text]
        return web.json_response({"count": len(ids), "max_model_len": self.window, "tokens": ids, "token_strs": None})

    async def _detokenize(self, request: web.Request) -> web.Response:
        ids = (await request.json())["tokens"]
        return web.json_response({"prompt": "".join("<bos>" if i == 2 else chr(i) for i in ids)})


class TogetherStandIn(VllmStandIn):
    """Together, as its published types have it."""

    def routes(self, router: web.UrlDispatcher) -> None:
        pass

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        listed, finish = self.tokens(body)
        values = [math.log(probability) for _, probability in listed]
        logprobs = {
            "tokens": [token for token, _ in listed],
            "token_logprobs": values,
            "token_ids": [7.0] * len(listed),
        }
        choice = {
            "text": "".join(token for token, _ in listed),
            "logprobs": logprobs if self.logprobs else None,
            "finish_reason": "eos" if finish == "stop" else finish,
            "seed": 7,
        }
        return {**self._head("text.completion"), "choices": [choice], "prompt": [], "usage": self._usage(body, listed)}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        listed, finish = self.tokens(body)
        events: list[dict[str, Any]] = []
        for token, probability in listed:
            item = {"id": 7, "text": token, "logprob": math.log(probability), "special": False}
            events.append({**self._head("completion.chunk"), "choices": [{"index": 0, "text": token}], "token": item})
        if finish == "stop":
            item = {"id": 2, "text": EOS, "logprob": -0.1, "special": True}
            events.append({**self._head("completion.chunk"), "choices": [{"index": 0, "text": ""}], "token": item})
        if events:
            events[-1] |= {"finish_reason": "eos" if finish == "stop" else finish, "usage": self._usage(body, listed)}
        return events

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "standin", "object": kind, "created": 1795261743, "model": "toy"}

    def _usage(self, body: dict[str, Any], listed: list[tuple[str, float]]) -> dict[str, int]:
        prompt = len(body["prompt"])
        return {"prompt_tokens": prompt, "completion_tokens": len(listed), "total_tokens": prompt + len(listed)}
