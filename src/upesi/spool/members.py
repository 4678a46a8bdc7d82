"""Who works on a spool: epochs, shards, and what becomes of the deliveries of a worker that has died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec

from upesi.database.sqlite import Database, Integers
from upesi.spool.records import SHARDS, DeliveryState, SpoolEvent
from upesi.spool.store import SpoolError
from upesi.spool.suspects import accuse
from upesi.spool.tally import Tally

__all__ = ["Expelled", "assign", "expel", "recover", "register"]

_ACTIVE = int(DeliveryState.ACTIVE)
_HELD = int(DeliveryState.HELD)
# one row whose column rotted away would keep all the mail of a dead worker from everybody
_WAITS = f"coalesce(waits, {int(DeliveryState.READY)})"

# ids of deliveries are epoch << 40 | counter in 63 bits
_MAX_EPOCH = 2**23 - 1


class Expelled(msgspec.Struct, frozen=True):
    """What became of a dead member's deliveries: how many wait again, and the events of those that were set aside instead."""

    waiting: int
    held: Sequence[SpoolEvent] = ()


def register(database: Database, pid: int, now: float) -> int:
    """Add a member and return its epoch, greater than every epoch there ever was."""
    with database.transaction():
        database.run("INSERT INTO member(pid, started) VALUES (?, ?)", pid, now)
        epoch = database.number("SELECT max(epoch) FROM member")
        if epoch > _MAX_EPOCH:
            raise SpoolError("out of epochs: this spool has been started eight million times")
    return epoch


def assign(database: Database, shards: Mapping[int, int]) -> None:
    """Give each shard to the member of this epoch; 0 for nobody."""
    if any(not 0 <= shard < SHARDS for shard in shards):
        raise ValueError("no such shard")
    with database.transaction():
        database.insert(
            "shard(id, owner)", list(shards.items()), "ON CONFLICT(id) DO UPDATE SET owner = excluded.owner"
        )


def expel(database: Database, epoch: int, weight: int, now: float) -> Expelled:
    """Take everything from a member that has died; `weight` says how much its death speaks against what it held (`suspects`).

    From the commit on, nothing that it may still send us changes anything: completions are conditional on its epoch.
    """
    with database.transaction():
        database.run("DELETE FROM member WHERE epoch = ?", epoch)
        database.run("UPDATE shard SET owner = 0 WHERE owner = ?", epoch)
        held: Sequence[SpoolEvent] = ()
        if weight:
            ids, held = accuse(database, epoch, weight, now)
            _hold(database, ids)
        return Expelled(_give_back(database, "epoch = ?", epoch), held)


def recover(database: Database) -> int:
    """At start, when no member lives: take everything from everybody; return how many deliveries wait again."""
    with database.transaction():
        database.run("DELETE FROM member")
        database.run("UPDATE shard SET owner = 0")
        return _give_back(database, "epoch > ?", 0)


def _hold(database: Database, ids: Sequence[int]) -> None:
    if not ids:
        return
    tally = Tally()
    for queue, due in database.rows("SELECT queue, due FROM delivery WHERE id IN carray(?)", Integers(ids)):
        tally.add(cast(str, queue), _ACTIVE, cast(float, due), -1)
        tally.add(cast(str, queue), _HELD, cast(float, due))
    database.run("UPDATE delivery SET state = 3, epoch = 0 WHERE id IN carray(?)", Integers(ids))
    tally.write(database)


def _give_back(database: Database, whose: str, epoch: int) -> int:
    tally = Tally()
    total = 0
    groups = database.rows(
        f"SELECT queue, {_WAITS}, count(*), min(due) FROM delivery WHERE state = 2 AND {whose} GROUP BY queue, {_WAITS}",
        epoch,
    )
    for queue, waits, count, due in groups:
        tally.add(cast(str, queue), _ACTIVE, cast(float, due), -cast(int, count))
        tally.add(cast(str, queue), cast(int, waits), cast(float, due), cast(int, count))
        total += cast(int, count)
    database.run(
        f"UPDATE delivery SET state = {_WAITS}, waits = {_WAITS}, epoch = 0 WHERE state = 2 AND {whose}", epoch
    )
    tally.write(database)
    return total
