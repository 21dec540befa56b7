"""A stand-in for vLLM's server (0.32)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from nudge_providers.standins.server import PROMPT_END, Generated, ToyServer
from nudge_providers.standins.toys import Model, Written, spelled

EOS = "<|im_end|>"
UNLIKELY = 0.01


class VllmStandIn(ToyServer):
    """vLLM: legacy lists, the end of sequence among the tokens, templates through ids.

    echoes: whether `echo` gives the log-probabilities of the prompt, as the real one does.
    """

    def __init__(self, model: Model, *, echoes: bool = True, **options: Any) -> None:
        super().__init__(model, **options)
        self.echoes = echoes

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v1/models", self._models)
        router.add_post("/tokenize", self._tokenize)
        router.add_post("/detokenize", self._detokenize)

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        done = self.generate(body)
        lists = _lists(_with_end(done))
        text = done.text
        if body.get("echo") and self.echoes:
            prompt = _echoed(self, body["prompt"])
            lists = {name: [*prompt[name], *lists[name]] for name in lists}
            text = body["prompt"] + text
        choice = self._choice(text, lists, done.finish)
        return {**_head(), "choices": [choice], "usage": _usage(body, done.count)}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        done = self.generate(body)
        listed = _with_end(done)
        options = body.get("stream_options") or {}
        events = []
        for index, token in enumerate(listed):
            last = index == len(listed) - 1
            text = "" if index >= len(done.tokens) else token.text
            event = {**_head(), "choices": [self._choice(text, _lists([token]), done.finish if last else None)]}
            if options.get("continuous_usage_stats"):
                event["usage"] = _usage(body, index + 1)
            events.append(event)
        if options.get("include_usage"):
            events.append({**_head(), "choices": [], "usage": _usage(body, done.count)})
        return events

    def _choice(self, text: str, logprobs: Any, finish: str | None) -> dict[str, Any]:
        empty = {name: None for name in ("stop_reason", "token_ids", "prompt_logprobs", "prompt_token_ids")}
        return {
            "index": 0,
            "text": text,
            "logprobs": logprobs if self.logprobs else None,
            "finish_reason": finish,
            **empty,
        }

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


def _with_end(done: Generated) -> list[Written]:
    """The end of sequence is listed among the tokens, and is not in the text."""
    return [*done.tokens, Written(EOS, 0.9)] if done.finish == "stop" else list(done.tokens)


def _lists(listed: Sequence[Written]) -> dict[str, Any]:
    """Its four parallel lists."""
    values = [math.log(token.probability) for token in listed]
    return {
        "text_offset": [sum(len(token.text) for token in listed[:index]) for index in range(len(listed))],
        "token_logprobs": values,
        "tokens": [token.text for token in listed],
        "top_logprobs": [{token.text: value} for token, value in zip(listed, values, strict=True)],
    }


def _echoed(server: VllmStandIn, prompt: str) -> dict[str, Any]:
    """The lists over a prompt. Its answer is split as the model writes it, where it would; else by words.

    The first token of all has no logprob. A token that the model would not have written stands beside the one it would.
    """
    answer = prompt.rpartition(PROMPT_END)[2]
    head = prompt[: len(prompt) - len(answer)]
    text = server.answer_in(head)
    tokens = [head]
    own: list[float | None] = [None]
    tops: list[dict[str, float] | None] = [None]
    while answer:
        best = server.model(text)
        spelling = spelled(*best, by_bytes=server.by_bytes) if best else [Written(EOS, 0.9)]
        wanted = "".join(part.text for part in spelling)
        if best and answer.startswith(wanted):
            tokens += [part.text for part in spelling]
            own += [math.log(part.probability) for part in spelling]
            tops += [{part.text: math.log(part.probability)} for part in spelling]
            token = wanted
        else:
            token = _next_word(answer)
            tokens.append(token)
            own.append(math.log(UNLIKELY))
            tops.append({spelling[0].text: math.log(spelling[0].probability), token: math.log(UNLIKELY)})
        text += token
        answer = answer[len(token) :]
    return {"text_offset": [0] * len(tokens), "token_logprobs": own, "tokens": tokens, "top_logprobs": tops}


def _next_word(text: str) -> str:
    end = text.find(" ", 1)
    return text if end < 0 else text[:end]


def _head() -> dict[str, Any]:
    return {"id": "cmpl-standin", "object": "text_completion", "created": 1795261743, "model": "toy"}


def _usage(body: dict[str, Any], written: int) -> dict[str, Any]:
    prompt = len(body["prompt"])
    counts = {"prompt_tokens": prompt, "total_tokens": prompt + written, "completion_tokens": written}
    return {**counts, "prompt_tokens_details": None, "completion_tokens_details": None}
