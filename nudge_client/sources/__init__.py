"""Where the next token comes from."""

from nudge_client.sources.memory import Memory
from nudge_client.sources.source import Ledger, Sampling, Source

__all__ = ["Ledger", "Memory", "Sampling", "Source"]
