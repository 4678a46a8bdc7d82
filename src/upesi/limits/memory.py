"""How much memory message data may take, over all sessions of a worker. Pure: a number, and the marks that its users heed."""

from __future__ import annotations

__all__ = ["MemoryBudget"]


class MemoryBudget:
    """`used` is raised and lowered by whoever holds message data.

    Past half of `limit` it is tight: bodies go to disk as they come. Past all of it no message is begun (452 4.3.1). `full` is set by
    whoever watches the memory of the whole process, to the same effect.
    """

    __slots__ = ("_tight", "full", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._tight = limit // 2
        self.used = 0
        self.full = False

    @property
    def tight(self) -> bool:
        """Whether to keep as little as possible."""
        return self.used > self._tight

    @property
    def spent(self) -> bool:
        """Whether there is no room left."""
        return self.full or self.used > self.limit
