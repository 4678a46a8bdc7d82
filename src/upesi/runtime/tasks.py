"""Tasks of a process that nobody awaits: each has an owner here, which contains and reports its failure, or ends it with the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["OwnTasks", "in_background", "nothing"]


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


def in_background(work: Coroutine[object, object, None]) -> Callable[[], Awaitable[None]]:
    """Start `work`, which contains its own failures and goes on until it is cancelled; return what does that and waits for its end."""
    task = asyncio.get_running_loop().create_task(work)

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    return stop


async def nothing() -> None:
    """Stop what was not started."""
