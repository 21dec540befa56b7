"""Items of a source that may be slow, for who has other things to do while they are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """Reads `items`, each when it is asked for, in one task of its own: the source may rely on that.

    notify: called when an item has come, and at the end. `aclose` it.
    """

    def __init__(self, items: AsyncIterator[T], notify: Callable[[], None]) -> None:
        self._items = items
        self._notify = notify
        self._wanted = asyncio.Event()
        self._came: list[T] = []
        self._task: asyncio.Task[None] | None = None

    async def poll(self) -> list[T] | None:
        """The next item, in a list; an empty one while it has not come; None at the end. Raises what `items` raises."""
        self._task = self._task or asyncio.create_task(self._read())
        if not self._came and not self._task.done():
            self._wanted.set()
            await asyncio.sleep(0)  # nearly always enough
        if self._came:
            return [self._came.pop()]
        if not self._task.done():
            return []
        self._task.result()
        return None

    async def aclose(self) -> None:
        """Stop reading, and close the source where it can be."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                await self._wanted.wait()
                try:
                    item = await anext(self._items)
                except StopAsyncIteration:
                    return
                self._wanted.clear()
                self._came.append(item)
                self._notify()
        finally:
            if isinstance(self._items, AsyncGenerator):
                await self._items.aclose()
            self._notify()
