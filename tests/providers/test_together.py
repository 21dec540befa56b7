"""What Together alone does: its refusals. The rest of its dialect is in test_dialects and test_faults."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from nudge_providers import (
    AuthenticationError,
    ContextExceededError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
)
from nudge_providers.standins import TogetherStandIn
from tests.providers.test_dialects import ASK, NUDGER, adapter

TOO_LONG = "`inputs` tokens + `max_new_tokens` must be <= 4097. Given: 5000 `inputs` tokens and 30 `max_new_tokens`"


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "message", "kind", "says"),
    [
        (402, "Credit limit exceeded", AuthenticationError, "no credit"),
        (403, TOO_LONG, ContextExceededError, "4097"),
        (400, TOO_LONG, ContextExceededError, "4097"),
        (422, "this model's context length is 4096", ContextExceededError, "4096"),
        (403, "The model is not for this account", AuthenticationError, "not for this account"),
        (400, "Unknown field", RejectedError, "Unknown field"),
        (429, "dynamic_token_limited", RateLimitedError, "dynamic_token_limited"),
        (503, "The service is overloaded", UnavailableError, "overloaded"),
    ],
)
async def test_refusals(status: int, message: str, kind: type, says: str, streams: bool) -> None:
    async def refuse(request: web.Request, body: dict[str, Any]) -> web.Response:
        error = {"error": {"message": message, "type": "x", "param": None, "code": None}}
        return web.json_response(error, status=status, headers={"x-ratelimit-reset": "30"})

    standin = TogetherStandIn(NUDGER)
    standin.fault = refuse
    await standin.start()
    provider = adapter("together", standin.url, 0.3)
    with pytest.raises(kind, match=says) as caught:
        await (anext(provider.stream(ASK)) if streams else provider.complete(ASK))
    assert type(caught.value) is kind
    assert caught.value.status == status
    if status in (429, 503):
        assert caught.value.retry_after == 30
    assert len(standin.bodies) == 1, "what lasts is not tried again, nor what asks for more time than there is"
    await provider.aclose()
    await standin.stop()


async def test_limits_are_learned_from_its_headers() -> None:
    async def tell(request: web.Request, body: dict[str, Any]) -> web.Response:
        headers = {"x-ratelimit-limit": "20", "x-tokenlimit-limit": "3000"}  # a second
        return web.json_response(standin.reply(body), headers=headers)

    standin = TogetherStandIn(NUDGER)
    standin.fault = tell
    await standin.start()
    provider = adapter("together", standin.url, 5)
    await provider.complete(ASK)
    account = provider._http._limiter()
    assert (account.requests.per_minute, account.tokens.per_minute) == (1200, 180_000)
    await provider.aclose()
    await standin.stop()
