"""vLLM's OpenAI-compatible server.

What it does (measured on 0.32 on CPU) and what this adapter makes of it:
- Legacy logprobs, at most 20 a position; more is a 400. `-9999.0` stands for minus infinity.
- The keys of `top_logprobs` collide where several byte-tokens decode to the same text: the top-1 is taken as at least
  the token's own. Byte-tokens of a character are listed with empty text before the character.
- The end-of-sequence token is listed among `tokens` and left out of `text`.
- `echo` with logprobs gives those of the prompt, the first of them null; the request then bypasses the prefix cache.
- A string prompt gets the tokenizer's BOS, if it has one (`add_special_tokens`); a typed one would be doubled.
- `prompt + max_tokens` over the window is clamped without a word, and shows only as a finish of `length`.
- A stream tells its usage when asked, in an event without choices; errors may come inside a 200 stream.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from nudge_providers.completions import CompletionProvider
from nudge_providers.errors import ContextExceededError, EndpointError, MalformedReply, NotFoundError
from nudge_providers.parsing import describe, string
from nudge_providers.profile import Profile
from nudge_providers.types import Capabilities, Message

_TOO_LONG = re.compile(r"context length is (\d+) tokens.*?(\d+) input tokens", re.DOTALL)


class VllmProvider(CompletionProvider):
    """One model on a vLLM server. `url` is its root or its `/v1`. The model may be left out where one is served."""

    profile = Profile(
        name="vllm",
        key_variable="VLLM_API_KEY",
        needs_model=False,
        max_logprobs=20,
        prompt_logprobs=True,
        stream_extra={"stream_options": {"include_usage": True, "continuous_usage_stats": True}},
    )

    async def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt by the model's own template: `/tokenize` renders it as ids, `/detokenize` spells them."""
        listed = [{"role": message.role, "content": message.content} for message in messages]
        model = (await self.capabilities()).model
        reply = await self._http.post("/tokenize", {"model": model, "messages": listed, "add_generation_prompt": True})
        return await self._spelled(model, self._ids(reply.data))

    async def ask_capabilities(self) -> Capabilities:
        """Model name and context length (tokens) from `/v1/models`, BOS from `/tokenize`."""
        listing = (await self._http.get("/v1/models")).data
        entries = listing.get("data") if isinstance(listing, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise MalformedReply(self._endpoint, "/v1/models data", f"is {describe(entries)}, not a list of objects")
        models = {str(entry.get("id")): entry for entry in entries}
        name = self._model or next(iter(models), "")
        if name not in models:
            offered = difflib.get_close_matches(name, models, n=3, cutoff=0.3) or list(models)[:3]
            raise NotFoundError(
                f"no model {name!r} on this server",
                endpoint=self._endpoint,
                advice=f"It serves: {', '.join(offered) or 'nothing'}",
            )
        self._model = name
        reply = await self._http.post("/tokenize", {"model": name, "prompt": "", "add_special_tokens": True})
        ids = self._ids(reply.data)
        window = models[name].get("max_model_len")
        return Capabilities(
            model=name,
            context_length=window if isinstance(window, int) else None,
            bos=await self._spelled(name, ids) if ids else "",
            server_adds_bos=bool(ids),
            chat_template=None,
        )

    def refine_error(self, error: EndpointError, body: Any) -> EndpointError:
        """A prompt over the window is a plain 400 that names both sizes in its message."""
        detail = body.get("error") if isinstance(body, dict) else None
        message = detail.get("message") if isinstance(detail, dict) else None
        found = _TOO_LONG.search(message) if isinstance(message, str) else None
        if not found:
            return error
        exceeded = ContextExceededError.with_sizes(int(found[2]), int(found[1]))
        exceeded.endpoint, exceeded.status = error.endpoint, error.status
        return exceeded

    def _ids(self, data: Any) -> list[int]:
        ids = data.get("tokens") if isinstance(data, dict) else None
        if not isinstance(ids, list) or not all(isinstance(item, int) for item in ids):
            raise MalformedReply(self._endpoint, "/tokenize tokens", f"is {describe(ids)}, not a list of ids")
        return ids

    async def _spelled(self, model: str, ids: list[int]) -> str:
        reply = await self._http.post("/detokenize", {"model": model, "tokens": ids})
        return string(reply.data.get("prompt") if isinstance(reply.data, dict) else None, self._endpoint, "prompt")
