"""The faults of the fault table: what a server does instead of answering, and what must come of it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from aiohttp import web

from nudge_providers import (
    AuthenticationError,
    CapabilityError,
    CompletionRequest,
    EndpointError,
    MalformedReply,
    RejectedError,
    UnavailableError,
)
from nudge_providers.standins import PROMPT_END, StandIn

ASK = CompletionRequest("Hi" + PROMPT_END, 12)
Respond = Callable[[StandIn, web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Fault:
    """respond: what the server does instead. error: what it ends in, or None when the right text comes of it.

    whole_error: the same, where only a stream can recover. says: part of the error. tries: requests until the text.
    """

    name: str
    respond: Respond
    error: type[EndpointError] | None = None
    whole_error: type[EndpointError] | None = None
    says: str | None = None
    tries: int = 2


def status(code: int, body: str = '{"error": {"message": "no"}}', **headers: str) -> Respond:
    async def respond(standin: StandIn, request: web.Request, body_sent: dict[str, Any]) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=code, text=body, headers=named)

    return respond


def close(transport: asyncio.Transport | None) -> None:
    """End the connection as a server does that ends: what was written arrives."""
    assert transport
    transport.close()


def reset(transport: asyncio.Transport | None) -> None:
    """End it as a server does that dies: the other side is told that the connection is reset."""
    assert transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def silent(end: Callable[[asyncio.Transport | None], None]) -> Respond:
    """The connection ends before the reply."""

    async def respond(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        end(request.transport)
        return web.Response()

    return respond


def partly(cut: Callable[[bytes], bytes], end: Callable[[asyncio.Transport | None], None] = close) -> Respond:
    """A whole reply or stream, of which only a part is sent before the connection ends."""

    async def respond(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        sent = cut(wire(standin, body))
        response = web.StreamResponse(headers={"content-type": content_type(body), "content-length": "100000"})
        if body.get("stream"):
            response = web.StreamResponse(headers={"content-type": content_type(body)})
        await response.prepare(request)
        await response.write(sent)
        end(request.transport)
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

    def change(sent: bytes) -> bytes:
        sent = re.sub(rb'"logprob": -[0-9.e-]+', b'"logprob": ' + value, sent)
        return re.sub(rb'"token_logprobs": \[[^]]*\]', b'"token_logprobs": [' + value + b"]", sent)

    return change


def with_json(change: Callable[[dict[str, Any]], None]) -> Respond:
    """A right reply, or every event of a right stream, with its JSON changed."""

    def changed(sent: bytes) -> bytes:
        if not sent.startswith(b"data: "):
            return edited(sent)
        events = sent.removesuffix(b"\n\n").split(b"\n\n")
        return b"".join(b"data: " + edited(event.removeprefix(b"data: ")) + b"\n\n" for event in events)

    def edited(raw: bytes) -> bytes:
        if raw == b"[DONE]":
            return raw
        data = json.loads(raw)
        change(data)
        return json.dumps(data, ensure_ascii=False).encode()

    return instead(changed)


def without_top_1(data: dict[str, Any]) -> None:
    """The list of the most probable tokens lacks the one that was written, and names a far less probable one."""
    for choice in data["choices"]:
        logprobs = choice.get("logprobs") or {}
        for entry in logprobs.get("content") or []:
            entry["top_logprobs"] = [{"id": 8, "token": "zzz", "bytes": [122] * 3, "logprob": -9.0}]
        if "tokens" in logprobs:
            logprobs["top_logprobs"] = [{"zzz": -9.0} for _ in logprobs["tokens"]]


def without_logprobs(data: dict[str, Any]) -> None:
    for choice in data["choices"]:
        choice.pop("logprobs", None)
    data.pop("token", None)  # Together's, in a stream


def foreign_header(standin: StandIn, request: web.Request, body: dict[str, Any]) -> dict[str, str]:
    own = request.headers["x-request-id"]
    return {"content-type": content_type(body), "x-request-id": own[:-1] + ("0" if own[-1] != "0" else "1")}


async def of_another(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """A good answer, but to another of our requests, as a proxy or a cache may send it."""
    wrong = wire(standin, body | {"prompt": "Another question" + PROMPT_END})
    return web.Response(body=wrong, headers=foreign_header(standin, request, body))


async def of_another_by_its_id(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """As vLLM tells ids: in the completion's own. In a stream, from its second event on."""
    sent, headers = wire(standin, body), {"content-type": content_type(body)}
    named = b'"id": "cmpl-nudge-0123456789abcdef01234567"'
    own = f'"id": "{json.loads(json.dumps(standin.events(body)))[0]["id"]}"'.encode()
    assert own in sent
    return web.Response(body=named.join(sent.rsplit(own, 1)), headers=headers)


def endless(begin: bytes, more: bytes) -> Respond:
    """Bytes without end, until nobody listens."""

    async def respond(standin: StandIn, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": content_type(body)})
        await response.prepare(request)
        try:
            await response.write(begin)
            while True:
                await response.write(more)
        except ConnectionError:
            return response

    return respond


FAULTS = [
    Fault("closed before the body", silent(close)),
    Fault("reset before the body", silent(reset)),
    Fault("reset inside the body", partly(lambda sent: sent[: len(sent) // 2], reset)),
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
    Fault("redirect", status(307, "", location="http://127.0.0.1:9/elsewhere"), RejectedError, says="redirects"),
    Fault("invalid JSON", instead(lambda sent: sent.replace(b'"choices":', b'"choices"')), MalformedReply),
    Fault(
        "JSON of another kind",
        instead(lambda sent: b"data: [1]\n\n" if sent.startswith(b"data") else b"[1]"),
        MalformedReply,
    ),
    Fault("too large", endless(b"", b": wait\n\n" * 1000), MalformedReply, says="is larger than"),
    Fault(
        "one line without an end",
        endless(b'data: {"x": "', b"x" * 10_000),
        MalformedReply,
        says="larger|without an end",
    ),
    Fault("logprobs missing", with_json(without_logprobs), CapabilityError, says="no log-probabilities"),
    Fault("logprobs null", instead(numbers(b"null")), MalformedReply),
    Fault("logprobs positive", instead(numbers(b"0.7")), MalformedReply),
    Fault("logprobs NaN", instead(numbers(b"NaN")), MalformedReply),
    Fault("logprobs short", instead(lambda sent: numbers(b"")(sent)), MalformedReply),
    # The written token's own logprob is the top-1's: what trap 3 of PROVIDERS says of greedy decoding.
    Fault("top-1 not in the top list", with_json(without_top_1), tries=1),
    Fault("another request's answer", of_another, MalformedReply, says="x-request-id belongs to another request"),
    Fault("another request's id", of_another_by_its_id, MalformedReply, says="id belongs to another request"),
    Fault("text changed", instead(lambda sent: sent.replace(b'"text": "', b'"text": "?', 1)), MalformedReply),
]
