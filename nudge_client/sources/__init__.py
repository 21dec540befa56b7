"""Where the next token comes from."""

from nudge_client.sources.chunked import ChunkedSource
from nudge_client.sources.ledger import Entry, Ledger, Sampling
from nudge_client.sources.memory import Memory, Told
from nudge_client.sources.pace import Pace
from nudge_client.sources.plans import Chunked, Overlap, Plan, PlanName, Streaming, Verified
from nudge_client.sources.streaming import StreamSource
from nudge_client.sources.verified import VerifyingSource

__all__ = [
    "Chunked",
    "ChunkedSource",
    "Entry",
    "Ledger",
    "Memory",
    "Overlap",
    "Pace",
    "Plan",
    "PlanName",
    "Sampling",
    "StreamSource",
    "Streaming",
    "Told",
    "Verified",
    "VerifyingSource",
]
