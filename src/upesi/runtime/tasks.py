"""Tasks of a process that nobody awaits: each has an owner here, which contains and reports its failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["OwnTasks"]


class OwnTasks:
    """Runs awaitables; what one raises goes to `failed`, and ends nothing else."""

    __slots__ = ("_failed", "_running")

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._running: set[asyncio.Task[None]] = set()

    def run(self, work: Awaitable[object]) -> None:
        """Start `work`."""
        task = asyncio.get_running_loop().create_task(self._contained(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _contained(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:
            self._failed(error)
