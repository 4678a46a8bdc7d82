"""What one transaction does to the upper level of the queue index: collected, then written with one row per queue."""

from __future__ import annotations

from upesi.database.sqlite import Database
from upesi.spool.records import DeliveryState, shard_of

__all__ = ["Tally"]

_ACTIVE = int(DeliveryState.ACTIVE)
_INTO = "queue(key, shard, next_due, routing, ready, active, held)"
_MERGE = (
    "ON CONFLICT(key) DO UPDATE SET "
    "next_due = min(coalesce(next_due, excluded.next_due), coalesce(excluded.next_due, next_due)), "
    "routing = routing + excluded.routing, ready = ready + excluded.ready, "
    "active = active + excluded.active, held = held + excluded.held"
)
# exact again after deliveries stopped waiting; one look at the end of `delivery_waiting`
_CORRECT = (
    "UPDATE queue SET next_due = (SELECT min(due) FROM delivery WHERE queue = queue.key AND state < 2) WHERE key = ?"
)


class Tally:
    """Changes of counts by queue."""

    __slots__ = ("_corrected", "_counts", "_due")

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._due: dict[str, float] = {}
        self._corrected: set[str] = set()

    def add(self, queue: str, state: int, due: float, count: int = 1) -> None:
        """Note that `count` deliveries came to be in `state` (negative: are no longer)."""
        counts = self._counts.get(queue)
        if counts is None:
            counts = self._counts[queue] = [0, 0, 0, 0]
        counts[state] += count
        if state < _ACTIVE:
            if count < 0:
                self._corrected.add(queue)
            elif due < self._due.get(queue, float("inf")):
                self._due[queue] = due

    def correct(self, queue: str) -> None:
        """Have the first due time of `queue` looked up again."""
        self._corrected.add(queue)

    def write(self, database: Database) -> None:
        """Bring the table up to date; the last thing a transaction does."""
        rows = [
            (key, shard_of(key), self._due.get(key), *counts)
            for key, counts in self._counts.items()
            if any(counts) or key in self._due
        ]
        if rows:
            database.insert(_INTO, rows, _MERGE)
        for key in self._corrected:
            database.run(_CORRECT, key)
