"""llama.cpp's own HTTP server.

What it does (measured on the real server, 2026.10) and what this adapter makes of it:
- `/v1/completions` answers with chat-style logprobs, `logprobs.content[…]`; `echo` is ignored without a word, so it is
  never sent and a reply is never taken to hold prompt tokens.
- The byte-tokens of one character come as one entry with the last one's logprob; `usage` counts the real tokens. A
  character cut by `max_tokens` shows as U+FFFD in the text and in no entry.
- logprobs are raw (before temperature), so a sampled reply still tells the top-1 probability.
- A string prompt gets the model's BOS in front and is parsed for special tokens: a typed BOS would be doubled.
- The default samplers cut the distribution (top_k 40, min_p 0.05); a sampled request switches them off.
- 503 while the model loads. A prompt over the context is 400 `exceed_context_size_error` with both sizes.
- The model's name in a request is ignored; an unknown one is caught here instead.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr

from nudge_providers.errors import (
    CapabilityError,
    ContextExceededError,
    EndpointError,
    MalformedReply,
    NotFoundError,
    UsageError,
)
from nudge_providers.logprobs import describe, is_text, tokens_from_content
from nudge_providers.transport import HttpTransport, Reply
from nudge_providers.types import Capabilities, Completion, CompletionRequest, Message, Usage

NAME = "llamacpp"
FINISHES = {"stop": "stop", "eos": "stop", "length": "length"}


class LlamaCppProvider:
    """One llama.cpp server. `url` is its root; a trailing `/v1` is taken off.

    deadline: seconds for one call, waiting for a loading model and retries included.
    Raises UsageError without a url.
    """

    key_variable = "LLAMA_API_KEY"

    def __init__(self, *, url: str, model: str = "", api_key: SecretStr | None = None, deadline: float = 120.0) -> None:
        if not url:
            raise UsageError(f"endpoint {NAME!r} needs a url, for example {NAME}@http://127.0.0.1:8080")
        root = url.rstrip("/").removesuffix("/v1")
        self._model = model
        self._endpoint = f"{NAME}{':' + model if model else ''}@{root}"
        self._http = HttpTransport(self._endpoint, root, api_key=api_key, deadline=deadline, refine=_refine)
        self._asked: asyncio.Task[Capabilities] | None = None

    def __repr__(self) -> str:
        return f"LlamaCppProvider({self._endpoint!r})"

    @property
    def endpoint(self) -> str:
        """`llamacpp[:model]@root`."""
        return self._endpoint

    async def complete(self, request: CompletionRequest) -> Completion:
        """See `Provider.complete`. The first call also asks the server what it serves."""
        facts = await self.capabilities()
        reply = await self._http.post("/v1/completions", self._payload(request, facts))
        return _parse_completion(reply, self._endpoint)

    async def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt by the server's own template. A base model's server answers too, with a ChatML fallback."""
        listed = [{"role": message.role, "content": message.content} for message in messages]
        reply = await self._http.post("/apply-template", {"messages": listed})
        prompt = reply.data.get("prompt") if isinstance(reply.data, dict) else None
        if not isinstance(prompt, str):
            raise MalformedReply(self._endpoint, "prompt", f"is {describe(prompt)}, not a string")
        return prompt

    async def capabilities(self) -> Capabilities:
        """Model name, context length (tokens), BOS. Asked once; a failure is asked again next time."""
        if self._asked is None or (self._asked.done() and (self._asked.cancelled() or self._asked.exception())):
            self._asked = asyncio.create_task(self._ask_capabilities())
        # Shielded: one caller's cancellation must not fail the others that wait for the same facts.
        return await asyncio.shield(self._asked)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._asked is not None and not self._asked.done():
            self._asked.cancel()
        await self._http.aclose()

    async def _ask_capabilities(self) -> Capabilities:
        props = await self._http.get("/props")
        if not isinstance(props.data, dict) or "default_generation_settings" not in props.data:
            raise MalformedReply(self._endpoint, "/props", "is not what a llama.cpp server answers")
        if self._model:
            _check_model(self._model, (await self._http.get("/v1/models")).data, self._endpoint)
        empty = await self._http.post("/tokenize", {"content": "", "add_special": True})
        tokens = empty.data.get("tokens") if isinstance(empty.data, dict) else None
        settings = props.data["default_generation_settings"]
        context = settings.get("n_ctx") if isinstance(settings, dict) else None
        return Capabilities(
            model=self._model or str(props.data.get("model_alias") or ""),
            context_length=context if isinstance(context, int) else None,
            bos=str(props.data.get("bos_token") or ""),
            server_adds_bos=bool(tokens),
            # Its presence proves nothing: a model without one is given a fallback.
            chat_template=None,
        )

    def _payload(self, request: CompletionRequest, facts: Capabilities) -> dict[str, Any]:
        prompt = request.prompt
        if facts.server_adds_bos and facts.bos:
            prompt = prompt.removeprefix(facts.bos)
        payload: dict[str, Any] = {
            "prompt": prompt,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "logprobs": 1,
            "cache_prompt": True,
        }
        if self._model:
            payload["model"] = self._model
        if request.temperature > 0:
            payload |= {"top_p": request.top_p, "top_k": 0, "min_p": 0.0}
            if request.seed is not None:
                payload["seed"] = request.seed
        return payload


def _refine(error: EndpointError, body: Any) -> EndpointError:
    """llama.cpp's own error types."""
    detail = body.get("error") if isinstance(body, dict) else None
    if isinstance(detail, dict) and detail.get("type") == "exceed_context_size_error":
        size, window = detail.get("n_prompt_tokens"), detail.get("n_ctx")
        exceeded = ContextExceededError(
            f"the prompt has {size} tokens, and the model's context holds {window}",
            endpoint=error.endpoint,
            status=error.status,
            advice="Shorten the prompt, or start the server with a larger context (-c)",
        )
        exceeded.prompt_tokens = size if isinstance(size, int) else None
        exceeded.context_length = window if isinstance(window, int) else None
        return exceeded
    if isinstance(error, NotFoundError):
        error.advice = "Give the root url of a llama.cpp server, such as http://127.0.0.1:8080"
    return error


def _check_model(model: str, listing: Any, endpoint: str) -> None:
    entries = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(entries, list):
        raise MalformedReply(endpoint, "/v1/models data", f"is {describe(entries)}, not a list")
    names: list[str] = []
    for entry in entries:
        if isinstance(entry, dict):
            names += [str(name) for name in [entry.get("id"), *(entry.get("aliases") or [])] if name]
    short = [name.replace("\\", "/").rsplit("/", 1)[-1] for name in names]
    known = {*names, *short, *(name.removesuffix(".gguf") for name in short)}
    if model not in known:
        offered = difflib.get_close_matches(model, sorted(known), n=3, cutoff=0.3) or sorted(set(short))[:3]
        raise NotFoundError(
            f"no model {model!r} on this server",
            endpoint=endpoint,
            advice=f"It serves: {', '.join(offered) or 'nothing'}. Leave the model out to take what is served",
        )


def _parse_completion(reply: Reply, endpoint: str) -> Completion:
    choices = reply.data.get("choices") if isinstance(reply.data, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise MalformedReply(endpoint, "choices", "is not a list with one object", request_id=reply.request_id)
    choice = choices[0]
    text, finish = choice.get("text"), FINISHES.get(str(choice.get("finish_reason")))
    if not isinstance(text, str):
        raise MalformedReply(endpoint, "choices[0].text", f"is {describe(text)}, not a string")
    if not is_text(text):
        raise MalformedReply(endpoint, "choices[0].text", "holds half a surrogate pair, which is no character")
    if finish is None:
        raise MalformedReply(endpoint, "choices[0].finish_reason", f"is {describe(choice.get('finish_reason'))}")
    logprobs = choice.get("logprobs")
    if logprobs is None and text.strip("\ufffd"):
        raise CapabilityError(
            "the server returned no log-probabilities",
            endpoint=endpoint,
            advice="Nudging judges a base model by them; use a server that returns logprobs with completions",
        )
    content = logprobs.get("content") if isinstance(logprobs, dict) else []
    tokens = tokens_from_content(text, content, endpoint)
    return Completion(
        text="".join(token.text for token in tokens),
        tokens=tokens,
        finish="stop" if finish == "stop" else "length",
        usage=_parse_usage(reply.data.get("usage"), endpoint),
        request_id=reply.request_id or str(reply.data.get("id") or ""),
    )


def _parse_usage(usage: Any, endpoint: str) -> Usage:
    if not isinstance(usage, dict):
        raise MalformedReply(endpoint, "usage", f"is {describe(usage)}, not an object")
    details = usage.get("prompt_tokens_details")
    counts: dict[str, Any] = {
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "cached_tokens": details.get("cached_tokens", 0) if isinstance(details, dict) else 0,
    }
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise MalformedReply(endpoint, f"usage.{name}", f"is {describe(value)}, not a count")
    return Usage(**counts)
