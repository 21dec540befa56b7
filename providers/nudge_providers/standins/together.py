"""A stand-in for Together's API, as its official package's types have it."""

from __future__ import annotations

import math
from typing import Any

from aiohttp import web

from nudge_providers.standins.server import ToyServer
from nudge_providers.standins.vllm import EOS


class TogetherStandIn(ToyServer):
    """Together: an end called `eos`, streams with a `token` beside the choices."""

    def routes(self, router: web.UrlDispatcher) -> None:
        """None: a hosted API has nothing to ask."""

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        done = self.generate(body)
        logprobs = {
            "tokens": [token.text for token in done.tokens],
            "token_logprobs": [math.log(token.probability) for token in done.tokens],
            "token_ids": [7.0] * len(done.tokens),
        }
        choice = {
            "text": done.text,
            "logprobs": logprobs if self.logprobs else None,
            "finish_reason": _finish(done.finish),
            "seed": 7,
        }
        usage = _usage(body, len(done.tokens))
        return {**_head("text.completion"), "choices": [choice], "prompt": [], "usage": usage}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        done = self.generate(body)
        events: list[dict[str, Any]] = []
        for text, probability in done.tokens:
            item = {"id": 7, "text": text, "logprob": math.log(probability), "special": False}
            events.append({**_head("completion.chunk"), "choices": [{"index": 0, "text": text}], "token": item})
        if done.finish == "stop":
            item = {"id": 2, "text": EOS, "logprob": -0.1, "special": True}
            events.append({**_head("completion.chunk"), "choices": [{"index": 0, "text": ""}], "token": item})
        if events:
            events[-1] |= {"finish_reason": _finish(done.finish), "usage": _usage(body, len(done.tokens))}
        return events


def _finish(finish: str) -> str:
    return "eos" if finish == "stop" else finish


def _head(kind: str) -> dict[str, Any]:
    return {"id": "standin", "object": kind, "created": 1795261743, "model": "toy"}


def _usage(body: dict[str, Any], written: int) -> dict[str, int]:
    prompt = len(body["prompt"])
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
