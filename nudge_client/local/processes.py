"""Starting and ending local servers. Whoever starts them owns them; they do not outlive their owner."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from filelock import AsyncFileLock

from nudge_client.local.models import model_file
from nudge_client.local.state import state_dir
from nudge_providers.errors import UnavailableError, printable

START_SECONDS = 60.0
LOG_TAIL = 400


class ServerProcess:
    """One llama.cpp server process of ours. Made by `start`."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        self.name = name
        self.url = ""
        self._process = process
        self._log = log

    @classmethod
    async def start(cls, name: str) -> ServerProcess:
        """Start the packaged model `name`, and return when it listens. Raises UsageError or UnavailableError."""
        path = await asyncio.to_thread(model_file, name)
        # llama.cpp's threads wait by spinning: two models that load at once take 3.5 s on two cores, in turn 1.5 s.
        async with AsyncFileLock(state_dir() / "loading.lock"):
            return await cls._load(name, path)

    @classmethod
    async def _load(cls, name: str, path: Path) -> ServerProcess:
        log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "nudge_client.local.server", str(path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            start_new_session=True,  # a terminal's Ctrl-C is for the owner
        )
        server = cls(name, process, log)
        try:
            server.url = await asyncio.wait_for(server._listening(), START_SECONDS)
        except BaseException as error:
            await server.stop()
            if isinstance(error, TimeoutError):
                raise UnavailableError(f"the local server of {name} did not start within {START_SECONDS:g} s") from None
            raise
        return server

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
            with suppress(OSError):
                await self._process.stdin.wait_closed()
        self._log.close()

    async def ended(self) -> None:
        """Return when the process is gone, for whatever reason."""
        await self._process.wait()

    async def _listening(self) -> str:
        assert self._process.stdout
        async for line in self._process.stdout:
            if line.startswith(b'{"url"'):
                return str(json.loads(line)["url"])
        self._log.seek(0)
        tail = printable(self._log.read().decode("utf-8", "replace")[-LOG_TAIL:], LOG_TAIL)
        raise UnavailableError(f"the local server of {self.name} ended while starting: {tail}")


@asynccontextmanager
async def own_servers(names: Sequence[str]) -> AsyncIterator[list[ServerProcess]]:
    """Servers of our own, for as long as the context lasts."""
    async with AsyncExitStack() as stack:
        servers = []
        for name in dict.fromkeys(names):
            servers.append(await ServerProcess.start(name))
            stack.push_async_callback(servers[-1].stop)
        yield servers
