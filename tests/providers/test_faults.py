"""The fault table: every fault, on every adapter, whole and streamed. Printed as a matrix with no empty cell.

A recoverable fault happens once and is recovered from, without a wrong, lost or doubled token; any other ends in its
error class, within the deadline.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from nudge_providers import (
    AuthenticationError,
    CompletionRequest,
    EndpointError,
    MalformedReply,
    RejectedError,
    UnavailableError,
)
from nudge_providers.completions import CompletionProvider
from nudge_providers.standins import PROMPT_END, StandIn
from nudge_providers.types import Token
from tests.providers.test_dialects import ADAPTERS, NUDGER, adapter, standin_for

ASK = CompletionRequest("Hi" + PROMPT_END, 12)
Respond = Callable[[StandIn, web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Fault:
    """respond: what the server does instead. error: what it ends in, or None when one more try recovers it.

    whole_error: the same, where only a stream can recover.
    """

    name: str
    respond: Respond
    error: type[EndpointError] | None = None
    whole_error: type[EndpointError] | None = None


def status(code: int, body: str = '{"error": {"message": "no"}}', **headers: str) -> Respond:
    async def respond(standin: StandIn, request: web.Request, body_sent: dict[str, Any]) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text=body, headers=named)

    return respond


async def reset(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Before the reply."""
    assert request.transport
    request.transport.close()
    return web.Response()


def partly(cut: Callable[[bytes], bytes]) -> Respond:
    """A whole reply or stream, of which only a part is sent before the connection is closed."""

    async def respond(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        sent = cut(wire(standin, body))
        response = web.StreamResponse(headers={"content-type": content_type(body), "content-length": "100000"})
        if body.get("stream"):
            response = web.StreamResponse(headers={"content-type": content_type(body)})
        await response.prepare(request)
        await response.write(sent)
        assert request.transport
        request.transport.close()
        return response

    return respond


def wire(standin: StandIn, body: dict[str, Any]) -> bytes:
    """The bytes of a right reply or stream. Not escaped, so that a cut can fall inside a character."""
    if not body.get("stream"):
        return json.dumps(standin.reply(body), ensure_ascii=False).encode()
    events = [json.dumps(event, ensure_ascii=False) for event in standin.events(body)]
    return "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()


def content_type(body: dict[str, Any]) -> str:
    return "text/event-stream" if body.get("stream") else "application/json"


def instead(change: Callable[[bytes], bytes]) -> Respond:
    """The bytes of a right reply, changed."""

    async def respond(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(body=change(wire(standin, body)), headers={"content-type": content_type(body)})

    return respond


async def stall(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Nothing more comes, until the client gives up. A whole reply may take its time, so that is at its deadline."""
    response = web.StreamResponse(headers={"content-type": content_type(body)})
    await response.prepare(request)
    while request.transport and not request.transport.is_closing():
        await asyncio.sleep(0.02)
    return response


def in_a_character(sent: bytes) -> bytes:
    at = sent.index("🎉".encode())
    return sent[: at + 2]


def numbers(value: bytes) -> Callable[[bytes], bytes]:
    """Every log-probability replaced."""
    import re

    def change(sent: bytes) -> bytes:
        sent = re.sub(rb'"logprob": -[0-9.e-]+', b'"logprob": ' + value, sent)
        return re.sub(rb'"token_logprobs": \[[^]]*\]', b'"token_logprobs": [' + value + b"]", sent)

    return change


FAULTS = [
    Fault("reset before the body", reset),
    Fault("cut inside the body", partly(lambda sent: sent[: len(sent) // 2])),
    Fault("cut inside a character", partly(in_a_character)),
    Fault("nothing at all", partly(lambda sent: b"")),
    Fault("stalled", stall, None, UnavailableError),
    *(Fault(str(code), status(code)) for code in (408, 409, 425, 429, 500, 502, 503, 504)),
    Fault("429 retry-after seconds", status(429, retry_after="0.05")),
    Fault("429 retry-after date", status(429, retry_after=formatdate(0, usegmt=True))),
    Fault("429 retry-after-ms", status(429, retry_after_ms="50")),
    Fault("429 x-ratelimit-reset", status(429, x_ratelimit_reset="0.05")),
    Fault("HTML error page", status(502, "<html><body>Bad gateway</body></html>")),
    Fault("HTML page for a reply", status(200, "<html><body>Welcome</body></html>"), MalformedReply),
    Fault("401", status(401), AuthenticationError),
    Fault("402", status(402), AuthenticationError),
    Fault("400", status(400), RejectedError),
    Fault("redirect", status(307, "", location="http://127.0.0.1:9/elsewhere"), RejectedError),
    Fault("invalid JSON", instead(lambda sent: sent.replace(b'"choices":', b'"choices"')), MalformedReply),
    Fault(
        "JSON of another kind",
        instead(lambda sent: b"data: [1]\n\n" if sent.startswith(b"data") else b"[1]"),
        MalformedReply,
    ),
    Fault("logprobs null", instead(numbers(b"null")), MalformedReply),
    Fault("logprobs positive", instead(numbers(b"0.7")), MalformedReply),
    Fault("logprobs NaN", instead(numbers(b"NaN")), MalformedReply),
    Fault("logprobs short", instead(lambda sent: numbers(b"")(sent)), MalformedReply),
    Fault("text changed", instead(lambda sent: sent.replace(b'"text": "', b'"text": "?', 1)), MalformedReply),
]
MATRIX: dict[tuple[str, str], str] = {}


async def ask(provider: CompletionProvider, streamed: bool) -> str:
    if not streamed:
        return (await provider.complete(ASK)).text
    return "".join([item.text async for item in provider.stream(ASK) if isinstance(item, Token)])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ADAPTERS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_fault(fault: Fault, dialect: str, streamed: bool) -> None:
    standin = await standin_for(dialect, NUDGER).start()
    provider = adapter(dialect, standin.url, 8)
    provider._http._stall_timeout = 0.3
    right = (await provider.complete(ASK)).text
    expected = fault.error if streamed else fault.error or fault.whole_error
    if expected is UnavailableError:
        provider._http.deadline = 0.5
    assert "🎉" in right
    done = 0

    async def once(request: web.Request, body: dict[str, Any]) -> web.StreamResponse | None:
        nonlocal done
        done += 1
        return await fault.respond(standin, request, body) if done == 1 or expected else None

    standin.fault = once
    cell = (fault.name, f"{dialect} {'streamed' if streamed else 'whole'}")
    try:
        if expected is None:
            assert await ask(provider, streamed) == right
            assert done == 2
            MATRIX[cell] = "recovered"
        else:
            with pytest.raises(expected) as caught:
                await ask(provider, streamed)
            MATRIX[cell] = type(caught.value).__name__
    finally:
        await provider.aclose()
        await standin.stop()


def test_the_matrix_has_no_empty_cell(request: pytest.FixtureRequest) -> None:
    columns = [f"{dialect} {way}" for dialect in ADAPTERS for way in ("whole", "streamed")]
    if len(MATRIX) < len(FAULTS):
        pytest.skip("the faults ran elsewhere")
    width = max(len(fault.name) for fault in FAULTS)
    print("\n" + " " * width, *(f"{column:20}" for column in columns))
    for fault in FAULTS:
        print(f"{fault.name:{width}}", *(f"{MATRIX[fault.name, column]:20}" for column in columns))
