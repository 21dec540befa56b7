"""Stand-ins as a process of their own: `python -m nudge_providers.standins.serve PAIR`, PAIR as JSON.

It prints one JSON line with the urls of both models, and lives until its standard input ends. A process of its own, so
that a toy's work is not counted as its client's.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any

from nudge_providers.standins import Latency, StandIn, ToyServer, VllmStandIn, toy_pair

DIALECTS: dict[str, type[ToyServer]] = {"llamacpp": StandIn, "vllm": VllmStandIn}


async def start(pair: Mapping[str, Any]) -> dict[str, ToyServer]:
    """Both models of a pair: its `dialect`, `toys` (for `toy_pair`), `topics`, and a latency of `base` and `nudger`."""
    models = dict(zip(("base", "nudger"), toy_pair(**pair["toys"]), strict=True))
    kind = DIALECTS[pair["dialect"]]
    return {
        name: await kind(model, latency=Latency(**pair[name]), topics=pair.get("topics", ()), window=10**6).start()
        for name, model in models.items()
    }


async def _main() -> None:
    servers = await start(json.loads(sys.argv[1]))
    print(json.dumps({name: server.url for name, server in servers.items()}), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_main())
