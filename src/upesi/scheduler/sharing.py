"""A worker's share of the machine's connections (`limits.shares`): paths wait for it in line, one connection a turn.

While any path waits, or a share was recalled, idle connections are closed, and those that had their turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from upesi.scheduler.connection import Connection
from upesi.scheduler.paths import Path

__all__ = ["PATIENCE", "Shares", "Sharing", "spare"]

# Seconds that something may wait while all connections are busy
PATIENCE: Final = 0.05
# Seconds a connection may hold a share while others wait for one
TURN: Final = 5.0


class Shares(Protocol):
    """This worker's part of the machine's connections: `limits.shares.Holder`."""

    owed: int
    in_use: int
    changed: Callable[[], None] | None

    def acquire(self) -> bool:
        """Use one."""
        ...

    def release(self) -> None:
        """Stop using one."""
        ...

    def want(self, n: int) -> None:
        """Say how many could be used."""
        ...


class Sharing:
    """Gives shares to paths; `connections` are all that use one, `use(path)` starts a connection with a share if it still can."""

    __slots__ = ("_connections", "_line", "_loop", "_shares", "_squeezing", "_use")

    def __init__(
        self,
        shares: Shares,
        connections: set[Connection],
        loop: asyncio.AbstractEventLoop,
        use: Callable[[Path], bool],
    ) -> None:
        self._shares = shares
        self._connections = connections
        self._loop = loop
        self._use = use
        # paths that wait, in turn
        self._line: deque[Path] = deque()
        self._squeezing: asyncio.TimerHandle | None = None
        shares.changed = self._share

    def acquire(self, path: Path) -> bool:
        """Take a share for `path`; where there is none, the path waits in line, and `use` is called when its turn comes."""
        if path.waiting:
            return False
        if self._line or not self._shares.acquire():
            path.waiting = True
            self._line.append(path)
            self.ask()
            self._squeeze_soon()
            return False
        return True

    def release(self) -> None:
        """Give a share back."""
        self._shares.release()

    def pass_on(self) -> None:
        """Let those in line have what is free."""
        if self._line:
            self._share()

    def ask(self) -> None:
        """Say how many shares could be used; called every second, so that wishes fall as well."""
        self._shares.want(self._shares.in_use + sum(min(len(path.ready), path.limit.limit) for path in self._line))

    def _share(self) -> None:
        """Give free shares to the paths in line, one connection each in turn."""
        line = self._line
        while line and self._shares.acquire():
            path = line.popleft()
            path.waiting = False
            if not self._use(path):
                self._shares.release()
        if line or self._shares.owed:
            self._squeeze_soon()

    def _squeeze_soon(self) -> None:
        if self._squeezing is None:
            self._squeezing = self._loop.call_later(PATIENCE, self._squeeze)

    def _squeeze(self) -> None:
        """Close what others need: idle connections, then those that had their turn; one for each that waits."""
        self._squeezing = None
        wanted = len(self._line) + self._shares.owed
        if not wanted:
            return
        now = self._loop.time()
        wanted -= sum(connection.stopping for connection in self._connections)
        ranked = sorted((rank, id(each), each) for each in self._connections if (rank := spare(each, now)) is not None)
        if wanted > 0:
            for _, _, connection in ranked[:wanted]:
                connection.stop()
        self._share()
        self._squeeze_soon()


def spare(connection: Connection, now: float) -> tuple[int, float] | None:
    """Return how dispensable a connection is while others wait, least first; None where it stays.

    A path's only connection that got nothing through yet stays: stopping it would keep a slow site from ever answering.
    """
    if connection.stopping:
        return None
    if connection.asked and not connection.charges and not connection.path.ready:
        return 0, connection.started
    if now - connection.started < TURN or not (connection.finished or len(connection.path.works) > 1):
        return None
    return 1, connection.started
