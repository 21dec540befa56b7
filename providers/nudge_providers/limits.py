"""What an account allows: requests and tokens a minute, shared by everything in this process that uses the account.

An account is a base URL and a key. Its limits come from the settings, and from the headers of its replies. They are
smoothed: no second gets more than a tenth above its share of the minute, because servers that allow 600 a minute
refuse 600 in the first second. The waiting is aiolimiter's leaky bucket.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakValueDictionary

from aiolimiter import AsyncLimiter
from pydantic import SecretStr

BURST = 0.1  # share of a second's allowance that may go out at once
CHARACTERS_A_TOKEN = 4  # of a prompt that nobody has counted yet
MAX_PAUSE = 60.0

# Header, what it limits, and the seconds it counts over: OpenAI's and its followers' by the minute, Together's by the
# second (their API references).
HEADERS = (
    ("x-ratelimit-limit-requests", "requests", 60.0),
    ("x-ratelimit-limit-tokens", "tokens", 60.0),
    ("x-ratelimit-limit", "requests", 1.0),
    ("x-tokenlimit-limit", "tokens", 1.0),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Most requests and tokens a minute; infinite where nobody has said."""

    requests_per_minute: float = math.inf
    tokens_per_minute: float = math.inf


class Rate:
    """One allowance, by the minute. Infinite until somebody says otherwise."""

    def __init__(self) -> None:
        self.per_minute = math.inf
        self._bucket: AsyncLimiter | None = None

    def allow(self, per_minute: float) -> None:
        """Set the allowance. Who waits already goes on as before."""
        if per_minute == self.per_minute:
            return
        self.per_minute = per_minute
        a_second = per_minute / 60
        size = max(1.0, a_second * BURST)
        self._bucket = AsyncLimiter(size, size / a_second)

    async def take(self, amount: float) -> None:
        """Wait for `amount`. More than goes out at once is taken in parts."""
        bucket = self._bucket
        while bucket is not None and amount > 0:
            part = min(amount, bucket.max_rate)
            await bucket.acquire(part)
            amount -= part


class Account:
    """The limits of one account, and who may go next."""

    def __init__(self) -> None:
        self.requests, self.tokens = Rate(), Rate()
        self._wished = Limits()
        self._paused: asyncio.Event | None = None
        self._until = 0.0

    def wish(self, limits: Limits) -> None:
        """The user's own limits: never more than these, whatever the server allows."""
        self._wished = limits
        self._allow("requests", self.requests.per_minute)
        self._allow("tokens", self.tokens.per_minute)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what a reply's headers tell of the account."""
        for name, kind, seconds in HEADERS:
            if (value := headers.get(name)) is not None and value.isdecimal() and int(value) > 0:
                self._allow(kind, int(value) * 60 / seconds)

    def pause(self, seconds: float) -> None:
        """Let nobody go for `seconds`: the server has told one request so, and means all of them."""
        loop = asyncio.get_running_loop()
        until = loop.time() + min(seconds, MAX_PAUSE)
        if until > self._until:
            self._until = until
            self._paused = self._paused or asyncio.Event()
            loop.call_at(until, self._resume)

    async def admit(self, tokens: float) -> None:
        """Wait until a request of about `tokens` tokens may go."""
        while self._paused:
            await self._paused.wait()
        if self.requests.per_minute < math.inf:
            await self.requests.take(1)
        if self.tokens.per_minute < math.inf:
            await self.tokens.take(tokens)

    def _resume(self) -> None:
        if self._paused and asyncio.get_running_loop().time() >= self._until:
            self._paused.set()
            self._paused = None

    def _allow(self, kind: str, per_minute: float) -> None:
        rate, wished = (
            (self.requests, self._wished.requests_per_minute)
            if kind == "requests"
            else (self.tokens, self._wished.tokens_per_minute)
        )
        allowed = min(per_minute, wished)
        if allowed < math.inf:
            rate.allow(allowed)


# Buckets belong to their event loop, and live as long as somebody uses the account there.
_accounts: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[tuple[str, SecretStr | None], Account]] = (
    WeakKeyDictionary()
)


def account(base_url: str, api_key: SecretStr | None) -> Account:
    """The account of a base URL and a key, one for the whole event loop that runs here."""
    accounts = _accounts.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found = accounts.get((base_url, api_key))
    if found is None:
        accounts[base_url, api_key] = found = Account()
    return found
