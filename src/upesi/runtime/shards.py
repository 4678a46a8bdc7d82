"""Which worker owns which shard: a pure plan, balanced, with as few moves as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upesi.spool.records import SHARDS

__all__ = ["plan"]


def plan(owners: Mapping[int, int], members: Sequence[int]) -> dict[int, int]:
    """Return the owner that each of the SHARDS should have.

    `owners` maps shards to the epochs that own them now; owners that are not in `members` count as gone. Every member gets
    SHARDS / len(members) shards, give or take one; a shard moves only where its owner has too many. Without members: {}.
    """
    if not members:
        return {}
    share, extra = divmod(SHARDS, len(members))
    room = {member: share + (index < extra) for index, member in enumerate(sorted(members))}
    target: dict[int, int] = {}
    homeless: list[int] = []
    for shard in range(SHARDS):
        owner = owners.get(shard)
        if owner in room and room[owner] > 0:
            room[owner] -= 1
            target[shard] = owner
        else:
            homeless.append(shard)
    free = [member for member, count in room.items() for _ in range(count)]
    # dealt in turn, so that neighbouring shards do not all land on one worker
    free.sort(key=lambda member: (room[member], member))
    target.update(zip(homeless, free, strict=True))
    return target
