"""The embedded pair: two llama.cpp servers on this machine, with models that come as packages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager


@asynccontextmanager
async def local_urls(names: Sequence[str]) -> AsyncIterator[dict[str, str]]:
    """Urls by model name: of the pair that `nudge local up` keeps, or else of servers started for this context.

    Raises UsageError for an unknown model or missing packages, UnavailableError when a server does not start.
    """
    from nudge_client.local.models import model_named
    from nudge_client.local.state import read_state

    for name in names:
        model_named(name)
    kept = read_state()
    if kept and all(name in kept.urls for name in names):
        yield kept.urls
        return
    from nudge_client.local.processes import own_servers

    async with own_servers(names) as servers:
        yield {server.name: server.url for server in servers}
