"""One model behind an OpenAI-style `/completions` endpoint: the part that all such servers share.

What a server does differently is data, in its `Profile`, or a method that its own small adapter overrides.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from nudge_providers.echo import scored
from nudge_providers.errors import CapabilityError, EndpointError, MalformedReply, UsageError
from nudge_providers.http_transport import HttpTransport
from nudge_providers.limits import Limits, Load
from nudge_providers.parsing import TokenParser, describe, finish_reason, parse_usage, string
from nudge_providers.place import Place
from nudge_providers.profile import Profile
from nudge_providers.retry import retrying
from nudge_providers.transport import Transport
from nudge_providers.types import (
    Capabilities,
    Completion,
    CompletionRequest,
    Finish,
    Message,
    Scored,
    StreamEnd,
    Token,
    Usage,
)


class CompletionProvider:
    """Base of the adapters on the shared transport. `profile` is the class's own.

    url: the server's root or its `/v1`. deadline: seconds for one call, retries included. limits: of the account.
    Raises UsageError without a url or a model, where one is needed.
    """

    profile: Profile

    def __init__(
        self,
        *,
        url: str = "",
        model: str = "",
        api_key: SecretStr | None = None,
        deadline: float = 120.0,
        limits: Limits | None = None,
    ) -> None:
        name, url = self.profile.name, url or self.profile.default_url
        if not url:
            raise UsageError(f"endpoint {name!r} needs a url, for example {name}@http://127.0.0.1:8080")
        if self.profile.needs_model and not model:
            raise UsageError(f"endpoint {name!r} needs a model, for example {name}:org/model@{url}")
        self.root = url.rstrip("/").removesuffix(self.profile.prefix)
        endpoint = f"{name}{':' + model if model else ''}@{self.root}"
        http = HttpTransport(
            endpoint, self.root, api_key=api_key, deadline=deadline, limits=limits, refine=self.refine_error
        )
        self._attach(http, model, f"{self.profile.prefix}/completions")

    def _attach(self, http: Transport, model: str, path: str) -> None:
        """What is set however one is built: an adapter may bring its own transport, and the path on it."""
        self._http = http
        self._endpoint = http.endpoint
        self._model = model
        self._path = path
        self._salt = secrets.token_hex(4)  # sessions of other processes are not ours
        self._asked: asyncio.Task[Capabilities] | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint!r})"

    @property
    def endpoint(self) -> str:
        """`provider[:model]@root`."""
        return self._endpoint

    @property
    def load(self) -> Load | None:
        """How things stand at its account, which others may share; None before the first request."""
        return self._http.load

    async def complete(self, request: CompletionRequest) -> Completion:
        """See `Provider.complete`."""
        body = self.payload(request, await self.capabilities())
        reply = await self._http.post(self._path, body)
        choice = self._choice(reply.data)
        text = string(choice.get("text"), self._endpoint, "choices[0].text")
        finish = finish_reason(choice.get("finish_reason"), self._endpoint)
        parser = TokenParser(self._endpoint, greedy=request.temperature == 0)
        tokens = parser.parse(text, choice.get("logprobs"), ended=finish == "stop")
        return Completion(
            text="".join(token.text for token in tokens),
            tokens=tokens,
            finish=finish,
            usage=parse_usage(reply.data.get("usage"), self._endpoint),
            request_id=reply.request_id or str(reply.data.get("id") or ""),
        )

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        """See `Provider.stream`. A stream that breaks off goes on from the text it had, within the deadline."""
        facts = await self.capabilities()
        written: list[str] = []
        place = self._http.place()
        async for attempt in retrying(place.deadline):
            with attempt:
                if not (left := request.max_tokens - len(written)):  # only the end was lost
                    yield StreamEnd("length", Usage())
                    return
                rest = replace(request, prompt=request.prompt + "".join(written), max_tokens=left)
                async with aclosing(self._stream_once(rest, facts, place)) as items:
                    async for item in items:
                        if isinstance(item, Token):
                            written.append(item.text)
                        yield item
                return

    async def score(self, prompt: str, continuation: str) -> Scored:
        """See `Provider.score`. By `echo`, with one token generated: servers refuse none."""
        if not self.profile.prompt_logprobs:
            raise CapabilityError("this server gives no log-probabilities of a prompt", endpoint=self._endpoint)
        facts = await self.capabilities()
        body = self.payload(CompletionRequest(prompt + continuation, 1), facts) | {"echo": True}
        reply = await self._http.post(self._path, body)
        tokens = scored(self.echoed(reply.data), self.sent(prompt, facts), continuation, self._endpoint)
        return Scored(tokens, parse_usage(reply.data.get("usage"), self._endpoint))

    async def render_chat(self, messages: Sequence[Message]) -> str:
        """See `Provider.render_chat`. A server without a template endpoint cannot."""
        raise CapabilityError(
            "this server cannot render a chat template",
            endpoint=self._endpoint,
            advice="Name the model's family or a Jinja file: --chat-template llama3",
        )

    async def capabilities(self) -> Capabilities:
        """What is known of this endpoint. Asked once; a failure is asked again next time."""
        if self._asked is None or (self._asked.done() and (self._asked.cancelled() or self._asked.exception())):
            self._asked = asyncio.create_task(self._facts())
        # Shielded: one caller's cancellation must not fail the others that wait for the same facts.
        try:
            return await asyncio.shield(self._asked)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._asked.cancelled() and not (task and task.cancelling()):
                raise UsageError(f"{self._endpoint}: it is closed, and answers no more") from None
            raise

    async def aclose(self) -> None:
        """Close the connections; calls under way end in an error."""
        if self._asked is not None and not self._asked.done():
            self._asked.cancel()  # it may be waiting to try again; whoever waits for it is told why
            await asyncio.wait([self._asked])
        await self._http.aclose()

    async def _facts(self) -> Capabilities:
        return replace(await self.ask_capabilities(), streaming=True, prompt_logprobs=self.profile.prompt_logprobs)

    # What an adapter may do in its own way

    async def ask_capabilities(self) -> Capabilities:
        """Ask the server for its facts; a hosted API has nothing to ask."""
        return Capabilities(model=self._model)

    def refine_error(self, error: EndpointError, _body: Any) -> EndpointError:
        """The server's own, more telling error."""
        return error

    def sent(self, prompt: str, facts: Capabilities) -> str:
        """The prompt as it is sent: without a BOS that the server would double."""
        return prompt.removeprefix(facts.bos) if facts.server_adds_bos and facts.bos else prompt

    def payload(self, request: CompletionRequest, facts: Capabilities) -> dict[str, Any]:
        """The body of a completion request. Greedy sends no sampling fields: `top_p` spoils some logprobs."""
        prompt = self.sent(request.prompt, facts)
        number = min(request.logprobs, self.profile.max_logprobs)
        body: dict[str, Any] = {"prompt": prompt, "max_tokens": request.max_tokens, "temperature": request.temperature}
        body |= {"logprobs": True, "top_logprobs": number} if self.profile.logprobs_flag else {"logprobs": number}
        if self._model:
            body["model"] = self._model
        body |= self.profile.extra
        if self.profile.session_field and request.session is not None:
            body[self.profile.session_field] = f"{self._salt}-{request.session}"
        if request.temperature > 0:
            body |= {"top_p": request.top_p, **self.profile.sampling}
            if request.seed is not None:
                body["seed"] = request.seed
        return body

    def echoed(self, data: Any) -> Mapping[str, Any]:
        """Where a reply with `echo` holds the prompt's tokens."""
        return self._choice(data)

    def stream_tokens(
        self, event: Mapping[str, Any], choice: Mapping[str, Any], parser: TokenParser
    ) -> Sequence[Token]:
        """The tokens of one event of a stream."""
        text = string(choice.get("text") or "", self._endpoint, "choices[0].text")
        return parser.parse(text, choice.get("logprobs"), ended=choice.get("finish_reason") is not None)

    def stream_usage(self, event: Mapping[str, Any]) -> Usage | None:
        """What an event in the middle of a stream tells of its usage."""
        return parse_usage(event["usage"], self._endpoint) if event.get("usage") else None

    def stream_finish(self, event: Mapping[str, Any], choice: Mapping[str, Any]) -> object:
        """The finish reason in an event, None before the end."""
        return choice.get("finish_reason")

    async def _stream_once(
        self, request: CompletionRequest, facts: Capabilities, place: Place
    ) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        body = {**self.payload(request, facts), "stream": True, **self.profile.stream_extra}
        parser = TokenParser(self._endpoint, greedy=request.temperature == 0)
        finish: Finish | None = None
        usage, request_id, told = Usage(), "", False
        async with aclosing(self._http.events(self._path, body, place)) as events:
            async for event in events:
                if not isinstance(event, Mapping):
                    raise MalformedReply(self._endpoint, "event", f"is {describe(event)}, not an object")
                request_id = request_id or str(event.get("id") or "")
                if event.get("usage") is not None:
                    usage = parse_usage(event["usage"], self._endpoint)
                if not event.get("choices") and "choices" in event:
                    continue  # the event that tells only the usage
                choice = self._choice(event)
                if not told and (so_far := self.stream_usage(event)):
                    told = True
                    yield so_far
                for token in self.stream_tokens(event, choice, parser):
                    yield token
                ended = self.stream_finish(event, choice)
                finish = finish if ended is None else finish_reason(ended, self._endpoint)
        if finish is None:
            raise MalformedReply(self._endpoint, "stream", "ended without a finish reason")
        yield StreamEnd(finish, usage, request_id)

    def _choice(self, data: Any) -> Mapping[str, Any]:
        choices = data.get("choices") if isinstance(data, Mapping) else None
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
            raise MalformedReply(self._endpoint, "choices", "is not a list with one object")
        return choices[0]
