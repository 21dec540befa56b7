"""Good answers out of a base model that can only be called: inference-time alignment over logprob APIs.

    async with NudgeClient(base="llamacpp@http://gpu:8080", nudger="llamacpp@http://gpu:8081") as nudge:
        answer = await nudge.generate("Why is the sky blue?")

Names are imported when first used, so that the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nudge_client.answer import Answer, ModelStats, Segment, Stats, TracedToken
    from nudge_client.checkpoint import Checkpoint
    from nudge_client.client import NudgeClient, generate
    from nudge_client.config import load_config
    from nudge_client.decoding import Piece
    from nudge_client.mapping import Mapped
    from nudge_client.settings import Settings
    from nudge_client.spending import Purse
    from nudge_client.stream import AnswerStream
    from nudge_providers import BudgetError, Message, NudgeError, UsageError

_HOMES = {
    "Answer": "nudge_client.answer",
    "AnswerStream": "nudge_client.stream",
    "BudgetError": "nudge_providers",
    "Checkpoint": "nudge_client.checkpoint",
    "Mapped": "nudge_client.mapping",
    "Message": "nudge_providers",
    "ModelStats": "nudge_client.answer",
    "NudgeClient": "nudge_client.client",
    "NudgeError": "nudge_providers",
    "Piece": "nudge_client.decoding",
    "Purse": "nudge_client.spending",
    "Segment": "nudge_client.answer",
    "Settings": "nudge_client.settings",
    "Stats": "nudge_client.answer",
    "TracedToken": "nudge_client.answer",
    "UsageError": "nudge_providers",
    "generate": "nudge_client.client",
    "load_config": "nudge_client.config",
}

__all__ = [
    "Answer",
    "AnswerStream",
    "BudgetError",
    "Checkpoint",
    "Mapped",
    "Message",
    "ModelStats",
    "NudgeClient",
    "NudgeError",
    "Piece",
    "Purse",
    "Segment",
    "Settings",
    "Stats",
    "TracedToken",
    "UsageError",
    "generate",
    "load_config",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
