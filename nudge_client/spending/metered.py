"""A provider whose every request is paid from a purse: set aside before it is sent, settled when it is over.

What is set aside is more than the request can cost. A prompt has no more tokens than bytes: byte-level vocabularies
(GPT-2's and its followers') and SentencePiece with byte fallback go down to single bytes and no further. A tokenizer
may normalise the text first (Qwen's to NFC), so the longer form counts; MARGIN holds a BOS and the space that
SentencePiece puts in front. The answer has at most `max_tokens`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType

from nudge_client.settings import Price
from nudge_client.sources.ledger import CHARACTERS_A_TOKEN, TURNED_AWAY
from nudge_client.spending.purse import Amount, Purse, Reservation
from nudge_providers.errors import UnavailableError, UsageError
from nudge_providers.retry import Unreachable, telling
from nudge_providers.types import (
    Capabilities,
    Completion,
    CompletionRequest,
    Message,
    Provider,
    Scored,
    StreamEnd,
    Token,
    Usage,
)

MARGIN = 8
UNPAID = (*TURNED_AWAY, Unreachable, UsageError)  # or it was not even sent


def most_tokens(text: str) -> int:
    """As many tokens as a prompt can have at most, in any byte-level vocabulary."""
    if text.isascii():
        return len(text) + MARGIN
    return max(len(text.encode()), len(unicodedata.normalize("NFC", text).encode())) + MARGIN


class Bill:
    """What one call may cost and then did. A call that is tried again is paid for once a try.

    As a context manager it settles what is open when the call is over, however it ended.
    """

    def __init__(self, purse: Purse, price: Price, prompt: str, max_tokens: int) -> None:
        self._purse = purse
        self._price = price
        self._prompt = prompt
        self._max_tokens = max_tokens
        self._heard: list[str] = []
        self._usage = Usage()
        self._whole = False
        self._reservation: Reservation | None = None

    async def open(self) -> Bill:
        """Set aside what a try may cost. Raises BudgetError."""
        bound = most_tokens(self._prompt)
        dearest = max(self._amount(Usage(bound, cached, self._max_tokens)).cost for cached in (0, bound))
        self._reservation = await self._purse.reserve(Amount(dearest, bound + self._max_tokens))
        return self

    def hear(self, *items: Token | Usage | StreamEnd) -> None:
        """Note what came. A count of no prompt tokens is none: the server did not tell."""
        for item in items:
            if isinstance(item, Token):
                self._heard.append(item.text)
                continue
            usage = item.usage if isinstance(item, StreamEnd) else item
            if usage.prompt_tokens:
                self._usage = usage
                self._whole = isinstance(item, StreamEnd)

    async def again(self, error: BaseException) -> None:
        """A try failed and another one follows, from the text that came so far. Raises BudgetError."""
        if self._turned_away(error):
            return  # what was set aside for this try is there for the next
        self._settle(error)
        self._prompt += "".join(self._heard)
        self._heard, self._usage = [], Usage()
        await self.open()

    def __enter__(self) -> Bill:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reservation:
            self._settle(error)

    def _settle(self, error: BaseException | None) -> None:
        assert self._reservation
        reservation, self._reservation = self._reservation, None
        told, heard = self._usage, max(self._usage.completion_tokens, len(self._heard))
        if self._whole:
            reservation.settle(self._amount(Usage(told.prompt_tokens, told.cached_tokens, heard)))
        elif self._turned_away(error):
            reservation.settle(Amount())
        else:
            guess = told.prompt_tokens or round(len(self._prompt) / CHARACTERS_A_TOKEN)
            likely = self._amount(Usage(guess, told.cached_tokens, heard))
            # The server may not have noticed that nobody listens: it is taken to have written to the limit.
            unheard = Usage(told.prompt_tokens, told.cached_tokens, max(heard, self._max_tokens))
            reservation.settle(self._amount(unheard) if told.prompt_tokens else reservation.amount, likely)

    def _turned_away(self, error: BaseException | None) -> bool:
        if self._heard or self._usage.prompt_tokens:
            return False
        busy = isinstance(error, UnavailableError) and error.status == 503
        return busy or isinstance(error, UNPAID)

    def _amount(self, usage: Usage) -> Amount:
        cost = self._price.exact(usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens)
        return Amount(cost, usage.prompt_tokens + usage.completion_tokens)


class Metered:
    """A `Provider` that does what another one does, as long as the purse allows.

    price: of the model behind it. A call that tells its usage is settled by that. One that was hung up, broke off or
    timed out is settled at its prompt and `max_tokens`, as the server may have written on; one that the server turned
    away costs nothing. Tries that `nudge_providers.retry` makes again are paid for one by one; those that a provider
    makes again on its own are not seen. Raises BudgetError beside the provider's errors.
    """

    def __init__(self, provider: Provider, purse: Purse, price: Price) -> None:
        self._provider = provider
        self._purse = purse
        self._price = price

    def __repr__(self) -> str:
        return f"Metered({self._provider!r})"

    @property
    def endpoint(self) -> str:
        """The provider's."""
        return self._provider.endpoint

    @property
    def load(self) -> object:
        """The state of the provider's account, where it tells one."""
        return getattr(self._provider, "load", None)

    async def complete(self, request: CompletionRequest) -> Completion:
        """See `Provider.complete`."""
        with await self._bill(request.prompt, request.max_tokens) as bill, telling(bill.again):
            done = await self._provider.complete(request)
            bill.hear(*done.tokens, StreamEnd(done.finish, done.usage))
            return done

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        """See `Provider.stream`. What is set aside for it is held until it ends or is closed."""
        with await self._bill(request.prompt, request.max_tokens) as bill:
            async with aclosing(self._provider.stream(request)) as items:
                while True:
                    # Set for each step: between them, the caller's context is not ours to change.
                    with telling(bill.again):
                        item = await anext(items, None)
                    if item is None:
                        return
                    bill.hear(item)
                    yield item

    async def score(self, prompt: str, continuation: str) -> Scored:
        """See `Provider.score`. An endpoint that is known to give no scores is asked without paying."""
        if (await self.capabilities()).prompt_logprobs is False:
            return await self._provider.score(prompt, continuation)
        with await self._bill(prompt + continuation, 1) as bill, telling(bill.again):
            found = await self._provider.score(prompt, continuation)
            bill.hear(StreamEnd("length", found.usage))
            return found

    async def render_chat(self, messages: Sequence[Message]) -> str:
        """The provider's: nobody bills that."""
        return await self._provider.render_chat(messages)

    async def capabilities(self) -> Capabilities:
        """The provider's: nobody bills that."""
        return await self._provider.capabilities()

    async def aclose(self) -> None:
        """Close the provider."""
        await self._provider.aclose()

    async def _bill(self, prompt: str, max_tokens: int) -> Bill:
        # Asked once, and before: the tries of that question are not this request's.
        await self.capabilities()
        return await Bill(self._purse, self._price, prompt, max_tokens).open()
