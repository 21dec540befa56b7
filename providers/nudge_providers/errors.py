"""Every error of this project, in one tree, split by whose fault it was.

    NudgeError
    ├── UsageError                 the caller: a bad argument, setting or file            exit 2
    ├── BudgetError                the caller's own cap on a whole job: nothing is wrong  exit 4
    └── EndpointError              a server or the way to it                              exit 3
        ├── ProviderError          the server said no, or nothing
        │   ├── AuthenticationError   401, 403: the key
        │   ├── NotFoundError         404, an unknown model, a path that is no completion API
        │   ├── RateLimitedError      429
        │   ├── ContextExceededError  the prompt is longer than the model's window
        │   ├── RejectedError         any other 4xx: the request as it is will never work
        │   └── UnavailableError      refused, reset, timed out, 5xx
        ├── MalformedReply         it answered, but not what its API promises
        └── CapabilityError        it works, but cannot do what nudging needs

An `EndpointError` names the endpoint, the status and the server's request id where there are any, and says what to do
next. Texts come from the server only after `printable` has cut them; no key is ever part of one.
"""

from __future__ import annotations

import math


def printable(text: str, limit: int = 200) -> str:
    """`text` on one line, without control characters, at most `limit` characters."""
    flat = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


class NudgeError(Exception):
    """Base of all errors raised on purpose here."""


class UsageError(NudgeError):
    """The caller asked for something that cannot be: what, where, and how to mend it."""


class BudgetError(NudgeError):
    """A request that might have passed the caller's cap on what a job may spend. It was not sent."""


class EndpointError(NudgeError):
    """Something between this process and one endpoint.

    endpoint: where, without secrets. status: HTTP status or None. request_id: the server's, or "".
    advice: what to do next.
    """

    def __init__(
        self, message: str, *, endpoint: str = "", status: int | None = None, request_id: str = "", advice: str = ""
    ) -> None:
        self.message = message
        self.endpoint = endpoint
        self.status = status
        self.request_id = request_id
        self.advice = advice
        super().__init__(message)

    def __str__(self) -> str:
        details = [f"HTTP {self.status}"] if self.status is not None else []
        details += [f"request {printable(self.request_id, 60)}"] if self.request_id else []
        where = f"{self.endpoint}: " if self.endpoint else ""
        detail = f" ({', '.join(details)})" if details else ""
        advice = f". {self.advice}" if self.advice else ""
        return f"{where}{self.message}{detail}{advice}"


class ProviderError(EndpointError):
    """The server said no, or nothing."""


class AuthenticationError(ProviderError):
    """The key is missing, wrong, or not allowed to do this."""


class NotFoundError(ProviderError):
    """No such path or model on this server."""


class RateLimitedError(ProviderError):
    """Too many requests.

    retry_after: seconds the server asked to wait, or None. worth_waiting: as of UnavailableError.
    """

    retry_after: float | None = None
    worth_waiting: float = math.inf


class ContextExceededError(ProviderError):
    """The prompt is longer than the model's context window. Sizes in tokens, None where the server did not say."""

    prompt_tokens: int | None = None
    context_length: int | None = None

    @classmethod
    def with_sizes(cls, prompt_tokens: object, context_length: object) -> ContextExceededError:
        """The error that names both sizes, as the server told them."""
        error = cls(
            f"the prompt has {prompt_tokens} tokens, and the model's context holds {context_length}",
            advice="Shorten the prompt, or serve the model with a larger context",
        )
        error.prompt_tokens = prompt_tokens if isinstance(prompt_tokens, int) else None
        error.context_length = context_length if isinstance(context_length, int) else None
        return error


class RejectedError(ProviderError):
    """The server refuses this request for good."""


class UnavailableError(ProviderError):
    """The server could not be reached, or failed. Worth another try until the deadline.

    retry_after: seconds the server asked to wait, or None. worth_waiting: seconds after which this kind of failure is
    taken for permanent, however long the deadline.
    """

    retry_after: float | None = None
    worth_waiting: float = math.inf


class MalformedReply(EndpointError):
    """The server answered with something that its API does not promise. Never retried, never guessed at."""

    def __init__(self, endpoint: str, field: str, problem: str, *, request_id: str = "") -> None:
        self.field = field
        super().__init__(
            f"malformed reply: {field} {problem}",
            endpoint=endpoint,
            request_id=request_id,
            advice="Is this server's completion API compatible with the adapter named in the endpoint?",
        )


class CapabilityError(EndpointError):
    """The server works, but cannot give what nudging needs, such as log-probabilities."""
