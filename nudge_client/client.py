"""NudgeClient: two endpoints and the settings, ready to answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple

from nudge_client.answer import Answer
from nudge_client.checkpoint import Checkpoint
from nudge_client.config import check_settings
from nudge_client.decoding import Author
from nudge_client.endpoints import open_endpoints
from nudge_client.many import MOST, PATIENCE
from nudge_client.mapping import Mapped, MapRow, mapped
from nudge_client.method import asked, decoder_of
from nudge_client.planning import Planner, Voice
from nudge_client.prompts import Prompt, as_messages, chat_prompt, check_template
from nudge_client.settings import NOT_IN_PAPER, Price, Settings
from nudge_client.sources import Sampling
from nudge_client.spending import Metered, Purse
from nudge_client.stream import AnswerStream, Writing
from nudge_providers.errors import UsageError
from nudge_providers.types import Message, Provider


class Rendered(NamedTuple):
    """What each model is sent before the answer, and the strings at which the base model has run on."""

    base: str
    nudger: str
    base_stop: tuple[str, ...]


class NudgeClient:
    """Aligns a base model at inference time with a small aligned model.

    base, nudger: an endpoint `provider:model@url`, or a `Provider`; left out, the embedded pair on this machine.
    settings: checked `Settings` to start from. options: single settings by name, such as `threshold=0.4`.
    purse: hard caps on what all the client's answers spend together, by the `prices` of the settings. An answer that
    would pass one raises BudgetError.
    Raises UsageError for a bad endpoint or setting, or a cap in dollars without prices. Use it as `async with`; one
    client serves many answers at once.
    """

    def __init__(
        self,
        base: str | Provider | None = None,
        nudger: str | Provider | None = None,
        *,
        settings: Settings | None = None,
        purse: Purse | None = None,
        **options: Any,
    ) -> None:
        given = {name: value for name, value in (("base", base), ("nudger", nudger)) if isinstance(value, str)}
        for name, value in (("base", base), ("nudger", nudger)):
            if value is not None and not isinstance(value, str | Provider):
                raise UsageError(f"{name} is neither an endpoint nor a Provider (see nudge_providers.types.Provider)")
        if settings is not None and not isinstance(settings, Settings):
            raise UsageError("settings is not a Settings object")
        self.settings = with_options(settings or Settings(), given | options)
        check_template(self.settings.chat_template)
        self._purse = purse
        if purse and purse.max_cost is not None:
            _check_prices(self.settings)
        self._given: dict[Author, str | Provider | None] = {"base": base, "nudger": nudger}
        self._providers: dict[Author, Provider] = {}
        self._planner = Planner()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> NudgeClient:
        try:
            await self._open()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections, and end the local servers that this client started. Safe to call twice."""
        self._providers.clear()
        await self._stack.aclose()

    async def generate(self, prompt: Prompt, **options: Any) -> Answer:
        """The whole answer to `prompt`: a string, or chat messages that end with the user's.

        options: settings for this answer only. Raises UsageError and the providers' errors.
        """
        stream = self.stream(prompt, **options)
        async for _ in stream:
            pass
        return stream.answer

    def stream(self, prompt: Prompt, *, begun: Checkpoint | None = None, **options: Any) -> AnswerStream:
        """The answer as it is written: iterate over its `Piece`s (text, author, reason), then read `.answer`.

        begun: where the same answer, by the same settings, was broken off; it is told again from its beginning, and
        only what is missing is requested.
        """
        settings = with_options(self.settings, options)
        if {"base", "nudger", "timeout", "providers"} & options.keys():
            raise UsageError("endpoints, their accounts and their timeout belong to the client, not to one answer")
        messages = as_messages(prompt, settings.system)
        return AnswerStream(lambda: self._prepare(messages, settings), begun)

    def map(
        self,
        rows: Iterable[MapRow] | AsyncIterable[MapRow],
        *,
        ordered: bool = False,
        concurrency: int = MOST,
        patience: float = PATIENCE,
        **options: Any,
    ) -> AsyncGenerator[Mapped, None]:
        """Answers to many rows: `async for result in nudge.map(rows)`. Rows are taken as there is room for them.

        rows: prompts as for `generate`, or objects with `prompt` or `messages`, and with `system` and `options` of
        their own if they like. ordered: in the order of the rows, not as they finish. concurrency: answers at once, at
        most; the accounts' windows decide how many really are. patience: seconds that endpoints may be down.
        options: settings for all of them. A row that fails is a result with an `error`; raised is what ends them all:
        see `Many.outcomes`.
        """
        return mapped(self, rows, ordered=ordered, concurrency=concurrency, patience=patience, options=options)

    async def rendered(self, prompt: Prompt, **options: Any) -> Rendered:
        """What each model would be sent for `prompt`. Raises as `generate` does."""
        settings = with_options(self.settings, options)
        return await self._render(as_messages(prompt, settings.system), settings)

    @property
    def providers(self) -> Mapping[Author, Provider]:
        """The endpoints of the open client."""
        return self._providers

    async def _render(self, messages: list[Message], settings: Settings) -> Rendered:
        if not self._providers:
            raise UsageError("the client is not open; use `async with NudgeClient(…) as nudge:`")
        messages, base = asked(messages, settings)
        # Both endpoints are looked at before the first word: one that cannot work is known before anything is shown.
        await asyncio.gather(*(provider.capabilities() for provider in self._providers.values()))
        nudger = await chat_prompt(self._providers["nudger"], messages, settings.chat_template)
        stop = base.stop if settings.base_stop is None else settings.base_stop
        return Rendered(settings.bos + base.text, nudger, stop)

    async def _prepare(self, messages: list[Message], settings: Settings) -> Writing:
        prompts = await self._render(messages, settings)
        facts = await self._providers["base"].capabilities()
        decoder, scout, holdback = decoder_of(settings, prompts.base_stop)
        hot = settings.temperature
        cool = hot if settings.nudger_temperature is None else settings.nudger_temperature
        sampling = Sampling(hot, settings.top_p, settings.seed)
        plan = self._planner.plan(
            settings,
            facts,
            Voice(self._providers["base"], prompts.base, sampling),
            Voice(self._providers["nudger"], prompts.nudger, replace(sampling, temperature=cool)),
            scout,
        )
        return Writing(decoder, holdback, plan, self._planner.finished)

    async def _open(self) -> None:
        handed = {author: given for author, given in self._given.items() if isinstance(given, Provider)}
        named: list[Author] = [author for author in self._given if author not in handed]
        endpoints = [getattr(self.settings, author) for author in named]
        opened = await self._stack.enter_async_context(open_endpoints(endpoints, self.settings))
        self._providers = handed | dict(zip(named, opened, strict=True))
        if purse := self._purse:
            prices = self.settings.prices
            self._providers = {
                author: Metered(provider, purse, prices.get(author, Price()))
                for author, provider in self._providers.items()
            }


def with_options(settings: Settings, options: Mapping[str, Any]) -> Settings:
    """`settings` with some of them set anew, checked. Raises UsageError."""
    if not options:
        return settings
    # Only what was set, so that the checks still know what was asked for. One answer by the paper's method leaves aside
    # what was set for others and the method does not have.
    apart = set(NOT_IN_PAPER) if options.get("preset") == "paper" else None
    return check_settings(settings.model_dump(exclude_unset=True, exclude=apart) | dict(options))


def _check_prices(settings: Settings) -> None:
    """A cap in dollars holds nothing where a price is not known."""
    for author in ("base", "nudger"):
        if author not in settings.prices:
            raise UsageError(
                f"max_cost needs prices: put [prices.{author}] with prompt and completion, in dollars for a million "
                "tokens, into nudge.toml; 0 for a model that costs nothing"
            )


def generate(prompt: Prompt, **options: Any) -> Answer:
    """The answer to `prompt`, for scripts without asyncio. `options` as for `NudgeClient`.

    Opens a client for this one answer. Raises UsageError inside a running event loop, and what `NudgeClient` raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_generate(prompt, options))
    raise UsageError("an event loop is running here; use `await NudgeClient(…).generate(…)`")


async def _generate(prompt: Prompt, options: dict[str, Any]) -> Answer:
    async with NudgeClient(**options) as client:
        return await client.generate(prompt)
