"""Whether a worker is overloaded: entered as soon as one of its resources runs short, left when all have been plentiful for a while.

The two marks and the wait (hysteresis) keep a worker that stands at the edge from changing its mind with every client. Pure: who
measures passes the measurements in, with a monotonic clock.
"""

from __future__ import annotations

import msgspec

__all__ = ["Load", "Marks", "Overload"]

# weight of the newest measurement of lateness: one slow moment (a collection, a busy neighbour) is no overload, a second of them is
_NEWEST = 0.25


class Load(msgspec.Struct, frozen=True, gc=False):
    """How much is in use: parts of what there is, 1.0 is all; `lag` is how late the event loop is, in seconds."""

    sessions: float = 0.0
    memory: float = 0.0
    descriptors: float = 0.0
    lag: float = 0.0


class Marks(msgspec.Struct, frozen=True, gc=False):
    """Above `enter`, or `lag` seconds, it begins; it ends when all were below `leave`, and half of `lag`, for `calm` seconds."""

    enter: float
    leave: float
    lag: float
    calm: float


class Overload:
    """The state. `cause` names what ran short ("sessions", "memory", "descriptors", "lag"); it is empty while nothing does."""

    __slots__ = ("_calm_since", "_lag", "_marks", "began", "cause")

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._lag = 0.0
        self._calm_since: float | None = None
        self.cause = ""
        self.began = 0.0

    def measured(self, now: float, load: Load) -> bool:
        """Take a measurement; whether overload began or ended with it."""
        self._lag += (load.lag - self._lag) * _NEWEST
        shares = {"sessions": load.sessions, "memory": load.memory, "descriptors": load.descriptors}
        if not self.cause:
            return self._may_begin(now, shares)
        calm = max(shares.values()) < self._marks.leave and self._lag < self._marks.lag / 2
        if not calm:
            self._calm_since = None
            return False
        if self._calm_since is None:
            self._calm_since = now
        if now - self._calm_since < self._marks.calm:
            return False
        self.cause = ""
        return True

    def _may_begin(self, now: float, shares: dict[str, float]) -> bool:
        worst = max(shares, key=lambda name: shares[name])
        if shares[worst] >= self._marks.enter:
            self.cause = worst
        elif self._lag >= self._marks.lag:
            self.cause = "lag"
        else:
            return False
        self.began = now
        self._calm_since = None
        return True
