"""Which worker owns which queue, as the supervisor last said: where hints go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upesi.spool.records import shard_of

__all__ = ["Owners"]


class Owners:
    """The other workers' shards, by the names under which they take hints."""

    __slots__ = ("_by_shard",)

    def __init__(self) -> None:
        self._by_shard: dict[int, str] = {}

    def set(self, others: Mapping[str, Sequence[int]]) -> None:
        """Take note of who owns what is not ours."""
        self._by_shard = {shard: name for name, shards in others.items() for shard in shards}

    def owner(self, queue: str) -> str | None:
        """Return the owner of `queue`; None while its shard moves: the new owner finds it by itself."""
        return self._by_shard.get(shard_of(queue))
