"""From an HTTP status, its headers and its body to one error of the tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nudge_providers.errors import (
    AuthenticationError,
    EndpointError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    printable,
)


def error_for_status(endpoint: str, status: int, headers: Mapping[str, str], body: Any) -> EndpointError:
    """The error for a reply that is not 200. `body`: decoded JSON, or the text when it is none."""
    message = error_message(body) or "no explanation"
    said = f"the server said: {message}"
    request_id = headers.get("x-request-id", "")

    def make(kind: type[EndpointError], text: str, advice: str) -> EndpointError:
        return kind(text, endpoint=endpoint, status=status, request_id=request_id, advice=advice)

    if status in (401, 403):
        return make(AuthenticationError, said, "Check the API key of this endpoint")
    if status == 404:
        return make(
            NotFoundError, said, "Check the url and the model; the url is the server's root, such as http://host:8080"
        )
    if status == 429:
        error = RateLimitedError(said, endpoint=endpoint, status=status, request_id=request_id)
        error.retry_after = retry_after(headers)
        return error
    if status in (408, 425) or (status >= 500 and status not in (501, 505)):
        unavailable = UnavailableError(said, endpoint=endpoint, status=status, request_id=request_id)
        unavailable.retry_after = retry_after(headers)
        # 503 is a server that is loading or busy; the others rarely mend themselves.
        unavailable.worth_waiting = float("inf") if status == 503 else 10.0
        return unavailable
    if 300 <= status < 400:
        return make(RejectedError, "the server redirects elsewhere", "Give the final url; redirects are not followed")
    return make(RejectedError, said, "Is this the url of a completion server?" if status in (405, 501) else "")


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
    """Seconds of a `Retry-After` header given in seconds; None without one."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
