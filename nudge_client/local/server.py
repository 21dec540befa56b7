"""The process that is one llama.cpp server: `python -m nudge_client.local.server GGUF`.

It prints one JSON line with its url when it listens, and lives until its standard input ends: the owner holds the other
end, and the system closes it however the owner ends, SIGKILL included.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

CONTEXT = 4096  # tokens, for each of the slots
SLOTS = 4
PR_SET_PDEATHSIG = 1


def _die_with_parent(wanted: bool) -> None:
    """Linux: be killed when the parent's thread ends. Only while loading, when nothing can watch standard input."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL if wanted else 0)


def main() -> None:
    """Load, serve, and end with the owner."""
    _die_with_parent(True)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.hostnames = ["127.0.0.1"]
    params.port = 0  # a free one
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT * SLOTS
    # llama.cpp's threads wait by spinning. With as many as there are cores, two servers, two commands or any other
    # load made answers ten times slower; half of the cores each, asleep between requests, costs little.
    params.cpuparams.n_threads = max(1, (os.cpu_count() or 1) // 2)
    params.cpuparams.poll = 0
    # Sliding-window models (Gemma) would read the whole prompt again on every call without the full cache.
    params.swa_full = True
    params.warmup = False  # the first answer warms it up
    params.fit_params = False  # it loads the model once more, to see how much memory it takes
    server = xllamacpp.Server(params)
    print(json.dumps({"url": server.listening_address}), flush=True)
    _die_with_parent(False)
    sys.stdin.buffer.read()
    os._exit(0)  # the server has threads of its own; there is nothing to save


if __name__ == "__main__":
    main()
