"""Threads for work that must not hold the event loop, with a bound on how much of it may wait.

A thread cannot be stopped: when its caller has given up, the work goes on and keeps its place until it ends. So a source that hangs
fills its own pool and is `LookupFailed` at once from then on; it never gathers threads or memory (AUT-07).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from upesi.lookup.failures import LookupFailed

__all__ = ["WorkPool"]

P = ParamSpec("P")
R = TypeVar("R")


class WorkPool:
    """`threads` that work, and `waiting` calls that may wait for one."""

    __slots__ = ("_executor", "_held", "_loop", "_most")

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, *, threads: int, waiting: int) -> None:
        self._loop = loop
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"upesi-{name}")
        self._most = threads + waiting
        self._held = 0

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `function` returns; raise what it raises, or LookupFailed where too much waits already."""
        if self._held >= self._most:
            raise LookupFailed("too much waits for it")
        self._held += 1
        try:
            future = self._executor.submit(function, *args, **kwargs)
        except RuntimeError:
            self._held -= 1
            raise LookupFailed("it is being closed") from None
        future.add_done_callback(self._freed)
        return await asyncio.wrap_future(future, loop=self._loop)

    def close(self) -> None:
        """Let waiting work go, and threads end when what they do has ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _freed(self, future: Future[R]) -> None:
        # called in the thread, or by whoever cancels
        try:
            self._loop.call_soon_threadsafe(self._free)
        except RuntimeError:
            pass  # the loop has ended

    def _free(self) -> None:
        self._held -= 1
