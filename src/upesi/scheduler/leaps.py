"""Leaps of the wall clock, so that no mail expires because somebody set the clock forward.

What waits is dated by the wall clock, since it outlives the process. A clock that jumps by ten years would make all of it too old
at once, and every temporary failure the last: the whole queue would go back to its senders. So what was received before a leap
expires as much later. Nothing is changed in the spool: whoever sets the clock right again finds every expiry as it was (`spool.setback`
is about the other times). A leap is forgotten when all mail from before it has had its time, and with the process: what happens
while we are down cannot be told from having been down. Pure: both clocks are given.
"""

from __future__ import annotations

from collections.abc import Callable

from upesi.spool.records import RETURNED

__all__ = ["Leaps"]

# Seconds: a clock that is disciplined moves by less between two looks
_SLACK = 60.0
# Leaps that are remembered; the oldest goes
_MOST = 16


class Leaps:
    """`wall` may be set, `monotonic` not; `lifetime` is for how long mail is tried. All in seconds."""

    __slots__ = ("_leaps", "_lifetime", "_monotonic", "_offset", "_wall", "behind")

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float], lifetime: float) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._lifetime = lifetime
        self._offset = wall() - monotonic()
        # (wall clock before, wall clock after, monotonic time)
        self._leaps: list[tuple[float, float, float]] = []
        # by how much the clock has leapt, of what is remembered
        self.behind = 0.0

    def look(self) -> None:
        """Compare the clocks; to be called every few seconds."""
        now, passed = self._wall(), self._monotonic()
        before = self._offset + passed
        self._offset = now - passed
        if now > before + _SLACK:
            self._leaps = [*self._leaps, (before, now, passed)][-_MOST:]
        elif now < before - _SLACK:
            # set back: what lies behind the time that it is now has not happened
            self._leaps = [(start, min(end, now), at) for start, end, at in self._leaps if start < now]
        elif not self._leaps:
            return
        self._leaps = [leap for leap in self._leaps if leap[2] + self._lifetime > passed]
        self.behind = sum(end - start for start, end, _ in self._leaps)

    def expiry(self, received: float, expires: float) -> float:
        """Return when mail expires that was `received` then, by the clock as it goes now."""
        self.look()
        if expires == RETURNED:
            return expires
        for start, end, _ in self._leaps:
            if received <= start < expires:
                received += end - start
                expires += end - start
        return expires
