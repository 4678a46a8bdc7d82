"""The transaction of a batch: every change of messages and deliveries that a worker makes, as a few multi-row statements.

Order inside a batch: messages accepted, attempts ended (with what remains and what follows), deliveries given back, other
operations, then the queue index. Nothing here commits or syncs; `committer` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import msgspec

from upesi.database.sqlite import Database, Integers, Value
from upesi.mail.ids import MessageId
from upesi.spool.batch import Accept, Complete, Item, Operation, Release
from upesi.spool.records import DeliveryState, shard_of
from upesi.spool.rows import DeliveryRow
from upesi.spool.schema import DELIVERY, EVENT, MESSAGE
from upesi.spool.tally import Tally

__all__ = ["Ledger", "remove_ended"]

_ACTIVE = int(DeliveryState.ACTIVE)
_BORN_ACTIVE = DeliveryState.ACTIVE

# One row with everything in it: a row at a time would cost one round of the interpreter lock each (database/sqlite.py), and so would
# a question for each of the two
_LOOK = (
    "SELECT (SELECT json_group_array(json_array(id, mrow, queue, file, waits, due)) FROM delivery "
    "WHERE id IN carray(?) AND state = 2 AND epoch = ?), (SELECT json_group_array(id) FROM shard WHERE owner = ? AND id IN carray(?))"
)
_LENT = "SELECT id, received, size, file, sender, message FROM delivery WHERE id IN carray(?)"
_DROP = "DELETE FROM delivery WHERE id IN carray(?)"
_GIVE_BACK = "UPDATE delivery SET state = waits, epoch = 0 WHERE id IN carray(?)"
_DROP_ENDED = "DELETE FROM message WHERE row IN carray(?) AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.message = message.id)"


class _Ours(msgspec.Struct, array_like=True, gc=False):
    id: int
    mrow: int
    queue: str
    file: int
    waits: int
    due: float


_decode_ours = msgspec.json.Decoder(list[_Ours]).decode
_decode_ids = msgspec.json.Decoder(set[int]).decode


def remove_ended(database: Database, rows: Sequence[int], filed: Sequence[int]) -> list[MessageId]:
    """Remove those of the messages `rows` that have no delivery left.

    Return the ids of those among `filed` (rows whose body is a file) that went.
    """
    before: dict[int, MessageId] = {}
    if filed:
        found = database.rows("SELECT row, id FROM message WHERE row IN carray(?)", Integers(filed))
        before = {cast(int, row): MessageId(cast(bytes, id)) for row, id in found}
    database.run(_DROP_ENDED, Integers(rows))
    if not before:
        return []
    left = {row for (row,) in database.rows("SELECT row FROM message WHERE row IN carray(?)", Integers(list(before)))}
    return [id for row, id in before.items() if row not in left]


class Ledger:
    """Writes batches for one member. `unlink` collects the bodies to remove once the commit is durable.

    `closed` is set where the transaction came to its COMMIT.
    """

    __slots__ = ("_epoch", "closed", "unlink")

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self.unlink: list[MessageId] = []
        self.closed = False

    def apply(self, database: Database, items: Iterable[Item]) -> None:
        """Make the changes of `items` inside the transaction that is open."""
        tally = Tally()
        accepts: list[Accept] = []
        completes: list[Complete] = []
        released: list[int] = []
        operations: list[Operation[object]] = []
        for item in items:
            if isinstance(item, Accept):
                accepts.append(item)
            elif isinstance(item, Complete):
                completes.append(item)
            elif isinstance(item, Release):
                released.extend(item.deliveries)
            elif isinstance(item, Operation):
                operations.append(item)
        events: list[tuple[Value, ...]] = []
        ours = self._look(database, accepts, completes, released)
        if completes:
            accepts += self._end(database, completes, ours, tally, events)
        if accepts:
            self._admit(database, accepts, tally, events)
        if events:
            database.insert(EVENT, events)
        if released:
            self._give_back(database, [ours.pop(id) for id in released if id in ours], tally)
        for operation in operations:
            operation.result = operation.act(database, tally)
        tally.write(database)

    def _look(
        self, database: Database, accepts: list[Accept], completes: list[Complete], released: list[int]
    ) -> dict[int, _Ours]:
        """Return those of the deliveries that end or are given back which are ours; let new ones wait whose shards are not.

        What a worker was told of its shards may be old by the time it commits; the table is not. Two workers that both sent for a
        path would break its limits (QUEUE.md, Q3).
        """
        born: dict[str, list[DeliveryRow]] = {}
        for row in _new(accepts, completes):
            if row.state is _BORN_ACTIVE:
                born.setdefault(row.queue, []).append(row)
        ids = [item.completion.delivery for item in completes] + released
        if not (ids or born):
            return {}
        shards = {queue: shard_of(queue) for queue in born}
        ours, owned = database.rows(_LOOK, Integers(ids), self._epoch, self._epoch, Integers(list(shards.values())))[0]
        held = _decode_ids(str(owned))
        for queue, theirs in born.items():
            if shards[queue] not in held:
                for row in theirs:
                    row.state = row.waits
        return {row.id: row for row in _decode_ours(str(ours))}

    def _admit(self, database: Database, accepts: list[Accept], tally: Tally, events: list[tuple[Value, ...]]) -> None:
        epoch = self._epoch
        messages = []
        deliveries = []
        for accept in accepts:
            messages.append(accept.row)
            mrow = cast(int, accept.row[0])
            for row in accept.deliveries:
                deliveries.append(row.values(accept.id, mrow, accept.lent, epoch))
                tally.add(row.queue, row.state, row.due)
            events += accept.events
        database.insert(MESSAGE, messages)
        database.insert(DELIVERY, deliveries)

    def _end(
        self,
        database: Database,
        completes: list[Complete],
        ours: dict[int, _Ours],
        tally: Tally,
        events: list[tuple[Value, ...]],
    ) -> list[Accept]:
        """End attempts; return the messages that follow from those that were still ours."""
        spawned: list[Accept] = []
        applied: list[tuple[Complete, _Ours]] = []
        for item in completes:
            # taken out, so that a second completion of the same delivery in one batch finds nothing
            row = ours.pop(item.completion.delivery, None)
            item.applied = row is not None
            item.born = []
            if row is None:
                continue
            applied.append((item, row))
            events += item.events
            spawned += item.spawn
            tally.add(row.queue, _ACTIVE, row.due, -1)
        if not applied:
            return spawned
        split = [pair for pair in applied if pair[0].remaining]
        lent = self._lent(database, [row.id for _, row in split]) if split else {}
        database.run(_DROP, Integers([row.id for _, row in applied]))
        if split:
            self._replace(database, split, lent, tally)
        ended = [row for item, row in applied if not item.remaining]
        if ended:
            filed = [row.mrow for row in ended if row.file]
            self.unlink += remove_ended(database, [row.mrow for row in ended], filed)
        return spawned

    def _lent(self, database: Database, ids: Sequence[int]) -> dict[int, tuple[tuple[float, int, int, str], MessageId]]:
        found = database.rows(_LENT, Integers(ids))
        return {
            cast(int, id): (
                cast(tuple[float, int, int, str], (received, size, file, sender)),
                MessageId(cast(bytes, message)),
            )
            for id, received, size, file, sender, message in found
        }

    def _replace(
        self,
        database: Database,
        split: list[tuple[Complete, _Ours]],
        lent: dict[int, tuple[tuple[float, int, int, str], MessageId]],
        tally: Tally,
    ) -> None:
        rows = []
        for item, old in split:
            borrowed, message = lent[old.id]
            for row in item.remaining:
                rows.append(row.values(message, old.mrow, borrowed, self._epoch))
                tally.add(row.queue, row.state, row.due)
                if row.state is DeliveryState.ACTIVE:
                    item.born.append(row.record(message, borrowed[0], borrowed[1]))
        database.insert(DELIVERY, rows)

    def _give_back(self, database: Database, ours: Sequence[_Ours], tally: Tally) -> None:
        if not ours:
            return
        database.run(_GIVE_BACK, Integers([row.id for row in ours]))
        for row in ours:
            tally.add(row.queue, _ACTIVE, row.due, -1)
            tally.add(row.queue, row.waits, row.due)

    def finish(self, items: Iterable[Item]) -> None:
        """After the commit: what was born of completions includes the follow-up messages' deliveries."""
        for item in items:
            if isinstance(item, Complete) and item.applied:
                for spawn in item.spawn:
                    item.born += spawn.born()


def _new(accepts: Iterable[Accept], completes: Iterable[Complete]) -> Iterator[DeliveryRow]:
    """Yield every delivery that may be written."""
    for accept in accepts:
        yield from accept.deliveries
    for item in completes:
        yield from item.remaining
        for spawn in item.spawn:
            yield from spawn.deliveries
