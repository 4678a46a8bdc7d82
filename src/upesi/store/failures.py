"""Messages that failed DMARC and of which somebody wants to hear, until they are reported (RFC 9991): the service `failures`.

In memory, of one worker. A stranger chooses what fails, so all is bounded, and what is beyond is forgotten: a report is a favour. Messages
that failed alike are told of once an hour, with their number in the next report (RFC 9991 section 8.1: not each failure matters, but each
different one).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from upesi.mailauth.failure import Failure

__all__ = ["MAX_CONDITIONS", "MAX_WAITING", "Failures"]

# Failures that wait for their report: half a minute of work, 17 kB each
MAX_WAITING = 100
# ways to fail that are remembered; then all are forgotten, and what may be sent is still rated
MAX_CONDITIONS = 1000
# seconds in which messages that fail alike are one
_ALIKE = 3600.0


class Failures:
    """What waits, and what was told lately."""

    __slots__ = ("_monotonic", "_ready", "_told", "_waiting", "dropped")

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """`monotonic` gives seconds that never go back."""
        self._monotonic = monotonic
        # by condition: until when there is no other report, and how many messages failed so meanwhile
        self._told: dict[tuple[str, ...], tuple[float, int]] = {}
        self._waiting: deque[tuple[Failure, int]] = deque()
        self._ready = asyncio.Event()
        # messages of which nobody will hear: too many waited
        self.dropped = 0

    def note(self, failure: Failure) -> None:
        """Keep one message for a report, or count it. Returns at once and raises nothing."""
        now = self._monotonic()
        until, alike = self._told.get(failure.condition, (0.0, 0))
        if now < until:
            self._told[failure.condition] = (until, alike + 1)
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            return
        if len(self._told) >= MAX_CONDITIONS:
            self._told.clear()
        self._told[failure.condition] = (now + _ALIKE, 0)
        self._waiting.append((failure, alike + 1))
        self._ready.set()

    async def next(self) -> tuple[Failure, int]:
        """Wait for a message to report; return it, and how many failed alike with it."""
        while not self._waiting:
            self._ready.clear()
            await self._ready.wait()
        return self._waiting.popleft()
