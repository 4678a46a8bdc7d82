"""What a connection has in hand: one attempt, and which of the entries in memory it is made of."""

from __future__ import annotations

from upesi.scheduler.memory import Entry
from upesi.scheduler.work import Attempt

__all__ = ["Charge"]


class Charge(Attempt, eq=False):
    """An attempt with the entries it is made of, and how many of each one's recipients it carries."""

    entries: tuple[Entry, ...] = ()
    counts: tuple[int, ...] = ()
