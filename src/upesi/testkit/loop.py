"""An event loop whose time is virtual: when nothing is left to do now, it jumps to the next timer.

So a test of a five-minute timeout takes no time, and timers fire in their order, always the same. Sockets and
`call_soon_threadsafe` work; real events are looked at before each jump. A wait for a thread while a timer is armed is not something
this loop can measure: the timer wins.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

__all__ = ["Stalled", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

# real seconds without any event, timer or thread before a test is said to hang
PATIENCE = 10.0
# real seconds that datagrams under way get before virtual time goes on
GRACE = 0.002


class Stalled(RuntimeError):
    """Everything waits, and nothing will ever happen."""


class _Jumping(selectors.BaseSelector):
    """A selector that never waits where the loop has a timer: it moves the loop's clock instead."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            events = self._real.select(PATIENCE)
            if not events:
                raise Stalled(f"nothing happened for {PATIENCE:g} real seconds, and no timer is armed")
            return events
        events = self._real.select(0)
        if not events and timeout > 0 and len(self._real.get_map()) > 1:
            # sockets, beside the loop's own: what was sent over loopback is not always there at once on a busy machine
            events = self._real.select(GRACE)
        if not events and timeout > 0:
            self.now += timeout
        return events

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop in virtual time, which begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return virtual seconds."""
        return self._jumping.now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once, as a machine does that was suspended: timers fire late."""
        self._jumping.now += seconds


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on a VirtualLoop of its own and return its result, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
