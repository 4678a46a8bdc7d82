"""How late the event loop is: the one number that shows somebody computing, or blocking, where everybody waits."""

from __future__ import annotations

import asyncio

from upesi.observe.series import Histogram

__all__ = ["LoopLag"]

# four times a second costs nothing and catches every block that a client could notice
_PERIOD = 0.25


class LoopLag:
    """Measures, by a timer of its own, how much later than asked for the loop's timers fire. `last` is in seconds."""

    __slots__ = ("_handle", "_histogram", "_loop", "last")

    def __init__(self, loop: asyncio.AbstractEventLoop, histogram: Histogram) -> None:
        self._loop = loop
        self._histogram = histogram
        self._handle: asyncio.TimerHandle | None = None
        self.last = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._arm()

    def stop(self) -> None:
        """Measure no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        due = self._loop.time() + _PERIOD
        self._handle = self._loop.call_at(due, self._fire, due)

    def _fire(self, due: float) -> None:
        self.last = max(0.0, self._loop.time() - due)
        self._histogram.observe(self.last)
        self._arm()
