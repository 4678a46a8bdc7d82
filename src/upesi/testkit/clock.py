"""A clock that a test moves."""

from __future__ import annotations

import asyncio

__all__ = ["FakeClock"]

# 2026-01-01T00:00:00Z: a date that is not 1970, so that a forgotten clock shows
START = 1_767_225_600.0


class FakeClock:
    """Both clocks of `upesi.plugin.Clock`. With a `loop`, time passes as on that loop (VirtualLoop) besides `advance`."""

    __slots__ = ("_loop", "_passed", "_start")

    def __init__(self, start: float = START, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`start` is the first wall-clock time, in Unix seconds."""
        self._start = start
        self._passed = 0.0
        self._loop = loop

    def now(self) -> float:
        """Return wall-clock seconds."""
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._passed + (self._loop.time() if self._loop is not None else 0.0)

    def advance(self, seconds: float) -> None:
        """Let time pass; it cannot go back."""
        if seconds < 0:
            raise ValueError("time does not go back: use `step` for the wall clock")
        self._passed += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP does; the monotonic one goes on."""
        self._start += seconds
