"""What one model server says, as tokens. Knows HTTP and dialects, knows nothing of nudging."""

from nudge_providers.errors import (
    AuthenticationError,
    CapabilityError,
    ContextExceededError,
    EndpointError,
    MalformedReply,
    NotFoundError,
    NudgeError,
    ProviderError,
    RateLimitedError,
    RejectedError,
    UnavailableError,
    UsageError,
)
from nudge_providers.types import (
    Capabilities,
    Completion,
    CompletionRequest,
    End,
    Message,
    Provider,
    Token,
    Usage,
)

__all__ = [
    "AuthenticationError",
    "Capabilities",
    "CapabilityError",
    "Completion",
    "CompletionRequest",
    "ContextExceededError",
    "End",
    "EndpointError",
    "MalformedReply",
    "Message",
    "NotFoundError",
    "NudgeError",
    "Provider",
    "ProviderError",
    "RateLimitedError",
    "RejectedError",
    "Token",
    "UnavailableError",
    "Usage",
    "UsageError",
]
