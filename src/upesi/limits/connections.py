"""At most C connections at once on one path (QUEUE.md, promise Q3): a count, and a ceiling that a receiver's refusal lowers for a while.

Pure: `now` is the caller's monotonic clock. Exact because one owner keeps it; a total that spans owners is `shares`.
"""

from __future__ import annotations

from upesi.mail.errors import InvariantError

__all__ = ["ConnectionLimit"]


class ConnectionLimit:
    """How many connections one path has, and may have."""

    __slots__ = ("_ceiling", "_until", "limit", "open")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self._ceiling = limit
        self._until = 0.0

    def room(self, now: float) -> int:
        """Return how many more may be opened now."""
        if self._ceiling < self.limit and now >= self._until:
            self._ceiling = self.limit
        return max(0, self._ceiling - self.open)

    def lower(self, ceiling: int, until: float) -> None:
        """Allow only `ceiling` (at least one) until `until`: the receiver takes what we have and refuses more."""
        self._ceiling = max(1, min(ceiling, self.limit))
        self._until = until

    def acquire(self, now: float) -> bool:
        """Count one more connection; False, and nothing counted, where there is no room."""
        if self.room(now) < 1:
            return False
        self.open += 1
        return True

    def release(self) -> None:
        """Count one less; raise InvariantError where none is open."""
        if self.open < 1:
            raise InvariantError("a connection was released that was never counted")
        self.open -= 1
