"""The owner of the scheduler's coroutines: each failure is contained and told, none is lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

__all__ = ["Emit", "Tasks"]

Emit = Callable[[str, dict[str, object]], None]


class Tasks:
    """Runs coroutines on `loop` until they end or `close`."""

    __slots__ = ("_emit", "_loop", "_running")

    def __init__(self, loop: asyncio.AbstractEventLoop, emit: Emit) -> None:
        self._loop = loop
        self._emit = emit
        self._running: set[asyncio.Task[object]] = set()

    def run(self, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Start `work`, which nobody else needs to hold. What it raises becomes an event `scheduler.failed`."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel what runs and wait for its end."""
        # what was started in this turn of the loop begins first: a coroutine that never began cannot clean up
        await asyncio.sleep(0)
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # the type and text are for our log only
            self._emit("scheduler.failed", {"error": type(error).__name__, "text": str(error)})
