"""A stand-in for vLLM's server (0.32). Its metrics are left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from aiohttp import web

from nudge_providers.standins.server import PROMPT_END, Generated, ToyServer
from nudge_providers.standins.toys import Model, Written, ranked, spelled

EOS = "<|im_end|>"
UNLIKELY = 0.01
MOST_LOGPROBS = 20
FINGERPRINT = {"system_fingerprint": "vllm-0.32.0-standin"}
Listed = tuple[str, float | None, dict[str, float] | None]  # a token, its logprob, the most probable ones there


class VllmStandIn(ToyServer):
    """vLLM: legacy lists, the end of sequence among the tokens, templates through ids.

    echoes: whether `echo` gives the log-probabilities of the prompt, as the real one does.
    """

    stream_type = "text/event-stream; charset=utf-8"

    def __init__(self, model: Model, *, echoes: bool = True, **options: Any) -> None:
        super().__init__(model, **options)
        self.echoes = echoes

    def routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/health", self._health)
        router.add_get("/version", self._version)
        router.add_get("/v1/models", self._models)
        router.add_post("/tokenize", self._tokenize)
        router.add_post("/detokenize", self._detokenize)
        router.add_route("*", "/{path:.*}", self._unknown)

    def signed(self, data: dict[str, Any], request_id: str) -> dict[str, Any]:
        return {**data, "id": f"cmpl-{request_id}"} if request_id else data

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        done = self.generate(body)
        listed = _listed(_with_end(done), _size(body))
        text, prompt = _text(done), None
        if body.get("echo") and self.echoes:
            before = _echoed(self, body["prompt"], _size(body))
            listed = [*before, *listed]
            text = body["prompt"] + text
            prompt = [_prompt_entry(top) for _, _, top in before]
        choice = self._choice(text, listed, done.finish, prompt_logprobs=prompt, routed_experts=None)
        usage = {**_usage(body, done.count), "prompt_tokens_details": None, "completion_tokens_details": None}
        empty = dict.fromkeys(("service_tier", "kv_transfer_params", "ec_transfer_params", "metrics"))
        return {**self._head(), "choices": [choice], **FINGERPRINT, "usage": usage, **empty}

    def events(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        done = self.generate(body)
        listed = _listed(_with_end(done), _size(body))
        options = body.get("stream_options") or {}
        events, offset = [], 0
        for index, token in enumerate(listed):
            last = index == len(listed) - 1
            text = "" if index >= len(done.tokens) else token[0]
            choice = self._choice(text, [token], done.finish if last else None, offset)
            event = {**self._head(), "choices": [choice]}
            if options.get("continuous_usage_stats"):
                event["usage"] = _usage(body, index + 1)
            offset += len(text)
            events.append(event)
        if options.get("include_usage"):
            events.append({**self._head(), "choices": [], "usage": _usage(body, done.count)})
        events[-1] |= FINGERPRINT
        return events

    def refusal(self, body: dict[str, Any]) -> web.Response | None:
        if body.get("model", self.name) != self.name:
            message = f"The model `{body['model']}` does not exist. Valid aliases: {self.name}."
            return self._error(404, "NotFoundError", "model", message)
        if _size(body) > MOST_LOGPROBS:
            message = f"Requested sample logprobs of {_size(body)}, which is greater than max allowed: {MOST_LOGPROBS}"
            return self._error(400, "BadRequestError", "logprobs", message)
        if not body["prompt"]:
            message = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
            return self._error(400, "BadRequestError", "prompt", message)
        if len(body["prompt"]) > self.window:
            message = (
                f"This model's maximum context length is {self.window} tokens. However, your prompt contains at least "
                f"{self.window + 1} input tokens, which exceeds this limit even without any output tokens."
            )
            return self._error(400, "BadRequestError", "input_tokens", message)
        return None

    def _error(self, status: int, kind: str, field: str, message: str) -> web.Response:
        return self.json({"error": {"message": message, "type": kind, "param": field, "code": status}}, status)

    def _head(self) -> dict[str, Any]:
        return {"id": "cmpl-standin", "object": "text_completion", "created": 1795261743, "model": self.name}

    def _choice(
        self, text: str, listed: Sequence[Listed], finish: str | None, offset: int = 0, **more: Any
    ) -> dict[str, Any]:
        logprobs = _lists(listed, offset) if self.logprobs else None
        ends = {"finish_reason": finish, "stop_reason": None, "token_ids": None, "prompt_token_ids": None}
        return {"index": 0, "text": text, "logprobs": logprobs, **ends, **more}

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, request: web.Request) -> web.Response:
        return self.json({"version": "0.32.0"})

    async def _models(self, request: web.Request) -> web.Response:
        facts: dict[str, Any] = {
            "owned_by": "vllm",
            "root": self.name,
            "parent": None,
            "max_model_len": self.window,
            "permission": [],
        }
        model = {"id": self.name, "object": "model", "created": 1795261743, **facts}
        return self.json({"object": "list", "data": [model]})

    async def _tokenize(self, request: web.Request) -> web.Response:
        """Ids are code points here."""
        body = await request.json()
        if "messages" in body:
            text = "".join(f"<|{m['role']}|>{m['content']}" for m in body["messages"]) + PROMPT_END
        else:
            text = body["prompt"] + ("\x02" if self.adds_bos else "")
        ids = [ord(character) for character in text]
        return self.json({"count": len(ids), "max_model_len": self.window, "tokens": ids, "token_strs": None})

    async def _detokenize(self, request: web.Request) -> web.Response:
        ids = (await request.json())["tokens"]
        return self.json({"prompt": "".join("<bos>" if i == 2 else chr(i) for i in ids)})

    async def _unknown(self, request: web.Request) -> web.Response:
        return self.json({"detail": "Not Found"}, 404)


def _size(body: dict[str, Any]) -> int:
    """How many tokens are to be listed a position."""
    return int(body.get("logprobs") or 1)


def _text(done: Generated) -> str:
    """Unlike others, it shows nothing for a character that the limit cut short."""
    return "".join(token.text for token in done.tokens)


def _with_end(done: Generated) -> list[Written]:
    """The end of sequence is listed among the tokens, and is not in the text."""
    return [*done.tokens, Written(EOS, 0.9)] if done.finish == "stop" else list(done.tokens)


def _listed(tokens: Sequence[Written], size: int) -> list[Listed]:
    return [(text, math.log(value), _tops(text, value, size)) for text, value in tokens]


def _tops(text: str, probability: float, size: int) -> dict[str, float]:
    return {name: math.log(value) for name, value in ranked(text, probability, size)}


def _lists(listed: Sequence[Listed], offset: int) -> dict[str, Any]:
    """Its four parallel lists."""
    return {
        "text_offset": list(accumulate((len(text) for text, _, _ in listed[:-1]), initial=offset)) if listed else [],
        "token_logprobs": [own for _, own, _ in listed],
        "tokens": [text for text, _, _ in listed],
        "top_logprobs": [top for _, _, top in listed],
    }


def _prompt_entry(top: dict[str, float] | None) -> dict[str, Any] | None:
    """The same once more, as vLLM's own field beside the lists has it: by the tokens' ids."""
    if top is None:
        return None
    return {
        str(7 + rank): {"logprob": value, "rank": rank + 1, "decoded_token": text}
        for rank, (text, value) in enumerate(top.items())
    }


def _echoed(server: VllmStandIn, prompt: str, size: int) -> list[Listed]:
    """The tokens of a prompt. Its answer is split as the model writes it, where it would; else by words.

    The first token of all has no logprob. A token that the model would not have written stands beside the one it would.
    """
    answer = prompt.rpartition(PROMPT_END)[2]
    head = prompt[: len(prompt) - len(answer)]
    text = server.answer_in(head)
    found: list[Listed] = [(head, None, None)]
    while answer:
        best = server.model(text)
        spelling = spelled(*best, by_bytes=server.by_bytes) if best else [Written(EOS, 0.9)]
        wanted = "".join(part.text for part in spelling)
        if best and answer.startswith(wanted):
            found += _listed(spelling, size)
            token = wanted
        else:
            token = _next_word(answer)
            own = math.log(UNLIKELY)
            found.append((token, own, _tops(*spelling[0], size) | {token: own}))
        text += token
        answer = answer[len(token) :]
    return found


def _next_word(text: str) -> str:
    end = text.find(" ", 1)
    return text if end < 0 else text[:end]


def _usage(body: dict[str, Any], written: int) -> dict[str, Any]:
    prompt = len(body["prompt"])
    return {"prompt_tokens": prompt, "total_tokens": prompt + written, "completion_tokens": written}
