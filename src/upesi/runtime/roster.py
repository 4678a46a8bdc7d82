"""Who is there and who owns what: the supervisor's view of its workers, as a state machine without I/O.

Every change of the crew (`joined`, `retiring`, `gone`, `idle`) returns what must be done about it: shards to
assign now, shards that an owner is
asked to yield. A shard moves between living workers only after its old owner reported it idle (ADR 2); a dead worker's shards move
at once.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from upesi.runtime.shards import plan

__all__ = ["Moves", "Roster"]


class Moves(msgspec.Struct, frozen=True):
    """What a change of the crew asks for. `assign`: shard -> epoch, to be written to the store; `yields`: epoch -> shards to give up."""

    assign: dict[int, int]
    yields: dict[int, frozenset[int]]


class Roster:
    """Members by epoch, and the owner of each shard."""

    __slots__ = ("_asked", "_members", "_retiring", "owners")

    def __init__(self) -> None:
        self.owners: dict[int, int] = {}
        self._members: set[int] = set()
        self._retiring: set[int] = set()
        # shards whose owner was asked to yield them and has not answered yet
        self._asked: set[int] = set()

    @property
    def active(self) -> list[int]:
        """Members that may own shards."""
        return sorted(self._members - self._retiring)

    @property
    def retiring(self) -> frozenset[int]:
        """Members that are leaving and still finish what they hold."""
        return frozenset(self._retiring)

    def shards_of(self, epoch: int) -> frozenset[int]:
        """The shards that `epoch` owns and was not asked to yield."""
        return frozenset(shard for shard, owner in self.owners.items() if owner == epoch and shard not in self._asked)

    def joined(self, epochs: Iterable[int]) -> Moves:
        """Workers are ready (a whole new generation at once, so that shards do not move twice)."""
        self._members.update(epochs)
        return self._settle()

    def retire(self, epochs: Iterable[int]) -> Moves:
        """Workers are to leave once they are idle."""
        self._retiring.update(set(epochs) & self._members)
        return self._settle()

    def idle(self, epoch: int, shards: Iterable[int]) -> Moves:
        """A living worker has nothing left in flight for `shards`, which it was asked to yield."""
        for shard in shards:
            if shard in self._asked and self.owners.get(shard) == epoch:
                self._asked.discard(shard)
                del self.owners[shard]
        return self._settle()

    def gone(self, epoch: int) -> Moves:
        """A worker's process has ended; its shards are free at once."""
        self._members.discard(epoch)
        self._retiring.discard(epoch)
        for shard in [shard for shard, owner in self.owners.items() if owner == epoch]:
            self._asked.discard(shard)
            del self.owners[shard]
        return self._settle()

    def _settle(self) -> Moves:
        target = plan(self.owners, self.active)
        assign: dict[int, int] = {}
        yields: dict[int, set[int]] = {}
        for shard, new in target.items():
            old = self.owners.get(shard)
            if old is None:
                assign[shard] = self.owners[shard] = new
            elif old != new and shard not in self._asked:
                self._asked.add(shard)
                yields.setdefault(old, set()).add(shard)
        return Moves(assign, {epoch: frozenset(shards) for epoch, shards in yields.items()})
