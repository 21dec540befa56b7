"""From an HTTP status, its headers and its body, or from aiohttp's own errors, to one error of the tree."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from nudge_providers.errors import (
    AuthenticationError,
    EndpointError,
    MalformedReply,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    printable,
)
from nudge_providers.retry import Disconnected, Unreachable

UNREACHABLE_ADVICE = "Is the server running there?"
ADVICE: dict[type[EndpointError], str] = {
    AuthenticationError: "Check the API key of this endpoint",
    NotFoundError: "Check the url and the model; the url is the server's root, such as http://host:8080",
}


Refine = Callable[[EndpointError, Any], EndpointError]


def no_refinement(error: EndpointError, _body: object) -> EndpointError:
    """Leave the error as it is."""
    return error


def decoded_error(raw: bytes) -> Any:
    """The body of an error: JSON, or the text when it is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")


def error_for_status(endpoint: str, status: int, headers: Mapping[str, str], body: Any) -> EndpointError:
    """The error for a reply that is not 200. `body`: decoded JSON, or the text when it is none."""
    said = f"the server said: {error_message(body) or 'no explanation'}"
    request_id = headers.get("x-request-id", "")
    kind = _kind(status)
    advice = ADVICE.get(kind, "")
    if 300 <= status < 400:
        said, advice = "the server redirects elsewhere", "Give the final url; redirects are not followed"
    elif status in (405, 501):
        advice = "Is this the url of a completion server?"
    elif status == 402:
        advice = "The account has no credit"
    error = kind(said, endpoint=endpoint, status=status, request_id=request_id, advice=advice)
    if isinstance(error, RateLimitedError | UnavailableError):
        error.retry_after = retry_after(headers)
    if isinstance(error, UnavailableError) and status != 503:
        error.worth_waiting = 10.0  # 503 is a server that is loading or busy; the others rarely mend themselves
    return error


def _kind(status: int) -> type[EndpointError]:
    if status in (401, 402, 403):
        return AuthenticationError
    if status == 404:
        return NotFoundError
    if status == 429:
        return RateLimitedError
    if status in (408, 409, 425) or (status >= 500 and status not in (501, 505)):
        return UnavailableError
    return RejectedError


def error_message(body: Any) -> str:
    """The readable part of an error body: `{"error": {"message"}}`, `{"message"}`, `{"detail"}`, or the text."""
    if isinstance(body, str):
        return "an HTML page, not an API reply" if "<html" in body[:500].lower() else printable(body)
    for key in ("error", "message", "detail"):
        value = body.get(key) if isinstance(body, dict) else None
        if isinstance(value, str):
            return printable(value)
        if isinstance(value, dict):
            return error_message(value)
    return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply asks to wait, or None.

    `retry-after-ms`, then `Retry-After` in seconds or as an HTTP date (RFC 9110, 10.2.3), then `x-ratelimit-reset` in
    seconds (Together's documents).
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0), ("x-ratelimit-reset", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            seconds = _until(value) if name == "retry-after" else -1.0
        if 0 <= seconds < float("inf"):
            return seconds
    return None


def _until(date: str) -> float:
    """Seconds until an HTTP date, 0 when it is past, -1 when it is none."""
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError):
        return -1.0


def tls_failed(endpoint: str) -> Unreachable:
    """No secure connection, and waiting will not help."""
    failure = Unreachable("the TLS connection failed", endpoint=endpoint, advice="Is the certificate trusted?")
    failure.worth_waiting = 0.0
    return failure


def cannot_connect(endpoint: str, number: int | None) -> Unreachable:
    """No connection. number: the operating system's `errno`; without one, or negative, it is a name nobody knows."""
    reason = os.strerror(number) if number and number > 0 else "no such host"
    return Unreachable(f"cannot connect: {reason}", endpoint=endpoint, advice=UNREACHABLE_ADVICE)


def no_connection_in_time(endpoint: str) -> Unreachable:
    """Nothing answered the attempt to connect."""
    return Unreachable("no connection in time", endpoint=endpoint, advice=UNREACHABLE_ADVICE)


def broke_off(endpoint: str) -> Disconnected:
    """The connection ended before the reply did."""
    return Disconnected("the server closed the connection before its reply was whole", endpoint=endpoint)


def translated(error: aiohttp.ClientError, endpoint: str) -> EndpointError:
    """The one boundary where aiohttp's errors become ours. Its texts can hold headers: none is passed on."""
    if isinstance(error, aiohttp.ClientSSLError):
        return tls_failed(endpoint)
    if isinstance(error, aiohttp.ServerTimeoutError):
        return no_connection_in_time(endpoint)
    if isinstance(error, aiohttp.InvalidURL):
        return MalformedReply(endpoint, "url", "cannot be requested")
    if isinstance(error, aiohttp.ClientConnectorError):
        return cannot_connect(endpoint, error.os_error.errno)
    if isinstance(error, aiohttp.ClientResponseError):
        return MalformedReply(endpoint, "response", "is not HTTP")
    return broke_off(endpoint)
