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

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from nudge_providers.completions import CompletionProvider
from nudge_providers.errors import ContextExceededError, EndpointError, MalformedReply, NotFoundError
from nudge_providers.parsing import count, describe, string
from nudge_providers.profile import Profile
from nudge_providers.types import Capabilities, CompletionRequest, Message, Usage


class LlamaCppProvider(CompletionProvider):
    """One llama.cpp server. `url` is its root; a trailing `/v1` is taken off. The model may be left out."""

    profile = Profile(
        name="llamacpp",
        key_variable="LLAMA_API_KEY",
        needs_model=False,
        max_logprobs=100,
        extra={"cache_prompt": True},
        sampling={"top_k": 0, "min_p": 0.0},
        stream_extra={"timings_per_token": True},  # the last event tells the usage unasked, this the prompt's before
    )

    _slots = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._sessions: dict[int, int] = {}  # and the slot of each, the one that was used last at the end

    def payload(self, request: CompletionRequest, facts: Capabilities) -> dict[str, Any]:
        """Requests that follow one another stay in one slot. One that was just hung up is still busy for a token, and
        the server would take another slot, which has to read the prompt anew: twice as slow (measured).
        """
        body = super().payload(request, facts)
        if request.session is not None and self._slots:
            body["id_slot"] = self._slot(request.session)
        return body

    def _slot(self, session: int) -> int:
        """The session's own slot. A new session gets the one that was not used for longest: its answer is finished."""
        slot = self._sessions.pop(session, None)
        if slot is None:
            slot = len(self._sessions)
            if slot >= self._slots:
                slot = self._sessions.pop(next(iter(self._sessions)))
        self._sessions[session] = slot
        return slot

    async def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt by the server's own template. A base model's server answers too, with a ChatML fallback."""
        listed = [{"role": message.role, "content": message.content} for message in messages]
        reply = await self._http.post("/apply-template", {"messages": listed})
        return string(reply.data.get("prompt") if isinstance(reply.data, dict) else None, self._endpoint, "prompt")

    async def ask_capabilities(self) -> Capabilities:
        """Model name, context length (tokens), BOS."""
        props = await self._http.get("/props")
        if not isinstance(props.data, dict) or "default_generation_settings" not in props.data:
            raise MalformedReply(self._endpoint, "/props", "is not what a llama.cpp server answers")
        slots = props.data.get("total_slots")
        self._slots = slots if isinstance(slots, int) else 0
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
            slots=self._slots or None,
        )

    def stream_usage(self, event: Mapping[str, Any]) -> Usage | None:
        """In `timings`: the prompt's tokens that were read, and those that were cached."""
        timings = event.get("timings")
        if not isinstance(timings, dict) or "prompt_n" not in timings:
            return super().stream_usage(event)
        cached = count(timings.get("cache_n", 0), self._endpoint, "timings.cache_n")
        return Usage(count(timings["prompt_n"], self._endpoint, "timings.prompt_n") + cached, cached)

    def refine_error(self, error: EndpointError, body: Any) -> EndpointError:
        """llama.cpp's own error types."""
        detail = body.get("error") if isinstance(body, dict) else None
        if isinstance(detail, dict) and detail.get("type") == "exceed_context_size_error":
            exceeded = ContextExceededError.with_sizes(detail.get("n_prompt_tokens"), detail.get("n_ctx"))
            exceeded.endpoint, exceeded.status = error.endpoint, error.status
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
