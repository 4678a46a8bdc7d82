"""Paths to one receiver: its limit of connections holds for them together, and each gets its part of it (promises Q3 and Q6).

Mail for the same hosts has a path for each TLS policy it is sent under, since a connection that was verified for one domain proves nothing
for another. The receiver counts connections, not policies. Their queues' names differ behind the first semicolon only, so one worker
owns them all (`spool.records.shard_of`).

Where the limit is reached and a path has less than its part, its neighbours give a connection up: an idle one first, then one that had
its turn. What becomes free is kept for those that lack.
"""

from __future__ import annotations

from upesi.limits.connections import ConnectionLimit
from upesi.scheduler.paths import Path
from upesi.scheduler.sharing import spare
from upesi.spool.records import receiver_of

__all__ = ["Neighbours", "Receiver"]


class Receiver:
    """What the paths to one receiver have in common."""

    __slots__ = ("lacking", "limit", "paths")

    def __init__(self, connections: int) -> None:
        self.limit = ConnectionLimit(connections)
        self.paths: set[Path] = set()
        # those with less than their part, in turn
        self.lacking: dict[Path, None] = {}


class Neighbours:
    """Knows which paths have a receiver in common. Holds as many receivers as there are paths, at most."""

    __slots__ = ("_connections", "_receivers")

    def __init__(self, connections: int) -> None:
        """`connections` is the limit of each receiver."""
        self._connections = connections
        self._receivers: dict[str, Receiver] = {}

    def add(self, site: str) -> Path:
        """Return a new path for `site`."""
        name = receiver_of(site)
        receiver = self._receivers.get(name)
        if receiver is None:
            receiver = self._receivers[name] = Receiver(self._connections)
        path = Path(site, receiver.limit)
        receiver.paths.add(path)
        return path

    def remove(self, path: Path) -> None:
        """Forget a path."""
        name = receiver_of(path.site)
        receiver = self._receivers[name]
        receiver.paths.discard(path)
        receiver.lacking.pop(path, None)
        if not receiver.paths:
            del self._receivers[name]

    def may_connect(self, path: Path, now: float) -> bool:
        """Whether the receiver's limit leaves `path` room for one more; if not, see that it gets its part."""
        room = path.limit.room(now)
        receiver = self._receivers[receiver_of(path.site)]
        if len(receiver.paths) == 1:
            return room > 0
        if path in receiver.lacking:
            if room < 1:
                _make_room(receiver, path, now)
            return room > 0
        if room > len(receiver.lacking) or room > len(_pruned(receiver, now)):
            return True
        if len(path.works) < _part(receiver):
            receiver.lacking[path] = None
            _make_room(receiver, path, now)
        return False

    def started(self, path: Path) -> None:
        """Take note of a connection that `path` got."""
        self._receivers[receiver_of(path.site)].lacking.pop(path, None)

    def waiting(self, path: Path, now: float) -> tuple[Path, ...]:
        """Return the neighbours of `path` that lack a connection, in turn."""
        receiver = self._receivers[receiver_of(path.site)]
        return tuple(_pruned(receiver, now)) if receiver.lacking else ()


def _part(receiver: Receiver) -> int:
    """Return how many connections each path that has something to do may call its own."""
    busy = sum(1 for path in receiver.paths if path.ready or path.works)
    return max(1, receiver.limit.limit // max(1, busy))


def _pruned(receiver: Receiver, now: float) -> dict[Path, None]:
    """Drop from those that lack who has nothing to send now: nothing is kept for them."""
    for path in [each for each in receiver.lacking if not each.ready or each.blocked(now)]:
        del receiver.lacking[path]
    return receiver.lacking


def _make_room(receiver: Receiver, path: Path, now: float) -> None:
    """Close what neighbours can spare, one connection for each path that lacks one."""
    others = [
        connection
        for each in receiver.paths
        if each is not path and each not in receiver.lacking
        for connection in each.works
    ]
    wanted = len(receiver.lacking) - sum(connection.stopping for connection in others)
    ranked = sorted((rank, id(each), each) for each in others if (rank := spare(each, now)) is not None)
    for _, _, connection in ranked[: max(0, wanted)]:
        connection.stop()
