"""The state of one path: what waits for a site, the connections to it, and what the site last said.

Data only; who may do what with it is in `dispatch` (connections), `backlog` (memory) and `settlement` (outcomes).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from upesi.limits.connections import ConnectionLimit
from upesi.mail.outcome import Outcome
from upesi.scheduler.memory import Entry
from upesi.scheduler.work import Destination
from upesi.spool.records import shard_of

if TYPE_CHECKING:
    from upesi.scheduler.connection import Connection

__all__ = ["Path"]


class Path:
    """One site's ready queue and connections. A path that holds nothing and remembers nothing is dropped (`spent`)."""

    __slots__ = (
        "aside", "backlog", "blocked_until", "claiming", "coming", "completing", "destination", "failures", "futile", "idle", "last",
        "limit", "ready", "resolved_at", "resolving", "shard", "site", "stalled", "taken", "waiting", "works",
    )  # fmt: skip

    def __init__(self, site: str, limit: ConnectionLimit) -> None:
        """`limit` is the receiver's: other paths may have it as well (`neighbours`)."""
        self.site = site
        self.shard = shard_of(site)
        # waiting in memory, first come first served; given-back ones go in front again
        self.ready: deque[Entry] = deque()
        self.taken = 0  # entries ever taken from the front
        self.aside = 0  # of which plugins have been asked, and have not answered yet
        self.completing = 0  # outcomes handed to the store, not durable yet
        self.backlog = False  # more is due in the spool: new mail goes behind it, not past it
        self.claiming = False
        # connections
        self.limit = limit
        self.works: set[Connection] = set()
        self.idle: list[Connection] = []
        self.coming = 0  # started or woken, about to take
        self.waiting = False  # for a share of the machine's connections
        self.stalled: asyncio.TimerHandle | None = None
        # where to, asked again after a while
        self.destination: Destination | None = None
        self.resolved_at = 0.0
        self.resolving = False
        # trouble
        self.blocked_until = 0.0
        self.failures = 0  # times unreachable in a row; 0 again with the first message finished
        self.futile = 0  # connections in a row that ended before anything was sent
        self.last: Outcome | None = None

    def overtake(self, entry: Entry) -> None:
        """Put an urgent entry (RFC 6710: due before it came) before what is due later. Not before its equals: they came first."""
        ready, due = self.ready, entry.delivery.due
        place = len(ready)
        while place and ready[place - 1].delivery.due > due:
            place -= 1
        ready.insert(place, entry)

    @property
    def held(self) -> int:
        """How much it holds in memory, waiting and under way."""
        return len(self.ready) + self.aside + sum(len(connection.charges) for connection in self.works)

    def blocked(self, now: float) -> bool:
        """Whether the site is left alone now."""
        return now < self.blocked_until

    def spent(self, now: float, memory: float) -> bool:
        """Whether nothing is lost by dropping this path; a site's failures are remembered for `memory` seconds after its pause."""
        if (
            self.ready
            or self.works
            or self.aside
            or self.completing
            or self.backlog
            or self.claiming
            or self.resolving
            or self.waiting
        ):
            return False
        return not self.failures or now >= self.blocked_until + memory
