"""How much memory message data may take, over all sessions of a worker. Pure: a number, and the bound that its users heed."""

from __future__ import annotations

__all__ = ["MemoryBudget"]


class MemoryBudget:
    """`used` is raised and lowered by whoever holds message data. Past `limit` nobody adds without writing it to disk at once.

    `full` is set by whoever watches the memory of the whole process: then no new message is begun (452 4.3.1).
    """

    __slots__ = ("full", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.full = False

    @property
    def spent(self) -> bool:
        """Whether there is no room left."""
        return self.used > self.limit
