"""What is asked of the spool, on the reader's connection; and the changes that follow from an answer, on the writer's.

A claim is found by a reader and then made by the writer on condition that nothing has changed: reading and decoding a
hundred rows would hold the write lock of all workers, a conditional update of their numbers does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from zlib import crc32

import msgspec

from upesi.database.errors import DatabaseCorrupt
from upesi.database.sqlite import Database, Integers, Value
from upesi.mail.body import Body, MemoryBody
from upesi.mail.ids import MessageId
from upesi.spool.bodies import BodyFolder
from upesi.spool.ledger import remove_ended
from upesi.spool.records import Delivery, DeliveryState, QueueHead, SpoolEvent, StoredMessage, shard_of
from upesi.spool.rows import DELIVERY_COLUMNS, MessageMeta, UnknownFormat, delivery_from, event_row, message_meta
from upesi.spool.schema import EVENT
from upesi.spool.store import SpoolDamaged, SpoolError
from upesi.spool.suspects import ALONE, one_is_held
from upesi.spool.tally import Tally

__all__ = [
    "Candidates",
    "candidates",
    "claim",
    "first_due",
    "heads",
    "load",
    "overdue",
    "postpone",
    "quarantine_delivery",
    "quarantine_message",
]

# How long rows of a newer format are left alone before they are looked at (and complained of) again
UNKNOWN_WAIT = 300.0

# Expired rows that one question looks at, the first to expire first. Those of queues that it does not ask about are about to be tried once
# more by whoever has them, and so make room
_EXPIRED_SEEN = 20_000

_COLUMNS = len(DELIVERY_COLUMNS.split(","))

_ACTIVE = int(DeliveryState.ACTIVE)
_decode_waits = msgspec.json.Decoder(list[tuple[int, int, float]]).decode


class Candidates(msgspec.Struct):
    """What a claim found: deliveries to claim, rows that failed their checksum with the reason, rows of formats not known.

    `alone` is the one among them that a worker may have only while it has no other such one.
    """

    deliveries: list[Delivery]
    damaged: list[tuple[int, str]]
    unknown: list[tuple[int, str]]
    alone: int | None = None


def heads(database: Database, shards: Sequence[int], now: float, limit: int) -> list[QueueHead]:
    """Return queues of `shards` with something due, most overdue first."""
    found = database.rows(
        "SELECT key, routing + ready, next_due FROM queue WHERE shard IN carray(?) AND next_due <= ? ORDER BY next_due LIMIT ?",
        Integers(shards), now, limit,
    )  # fmt: skip
    return [QueueHead(cast(str, key), cast(int, ready), cast(float, due)) for key, ready, due in found]


def first_due(database: Database, shards: Sequence[int]) -> float | None:
    """Return when the first delivery of `shards` becomes due."""
    # one look at the index for each shard; a plain min() over all of them would walk every waiting queue
    found = database.value(
        "SELECT min((SELECT min(next_due) FROM queue WHERE shard = c.value AND next_due IS NOT NULL)) FROM carray(?) AS c",
        Integers(shards),
    )
    return cast(float, found) if found is not None else None


def candidates(database: Database, queue: str, now: float, limit: int) -> Candidates:
    """Read due deliveries of `queue`, earliest first; of those that must be handed out alone (`suspects`) one, in front."""
    suspected = "(SELECT weight FROM suspect WHERE suspect.delivery = delivery.id) >= ?"
    due = f"SELECT {DELIVERY_COLUMNS}, {suspected} FROM delivery WHERE queue = ? AND state < 2 AND due <= ?"
    rows = database.rows(f"{due} ORDER BY due LIMIT ?", ALONE, queue, now, limit)
    alone = [row for row in rows if row[-1]][:1]
    if not alone:
        return _decoded(rows)
    others = database.rows(
        f"{due} AND ({suspected}) IS NOT 1 ORDER BY due LIMIT ?", ALONE, queue, now, ALONE, limit - 1
    )
    found = _decoded(alone + others)
    found.alone = cast(int, alone[0][0])
    return found


def overdue(database: Database, queues: Sequence[str], now: float, limit: int) -> Candidates:
    """Read up to `limit` waiting deliveries of `queues` that expired before `now`, the first to expire first."""
    rows = database.rows(
        f"SELECT {DELIVERY_COLUMNS} FROM (SELECT * FROM delivery WHERE state < 2 AND expires <= ? ORDER BY expires LIMIT ?) "
        "WHERE queue IN (SELECT value FROM json_each(?)) LIMIT ?",
        now, _EXPIRED_SEEN, msgspec.json.encode(list(queues)).decode(), limit,
    )  # fmt: skip
    return _decoded(rows)


def _decoded(rows: Sequence[Sequence[Value]]) -> Candidates:
    found = Candidates([], [], [])
    for row in rows:
        number = cast(int, row[0])
        try:
            found.deliveries.append(delivery_from(row[:_COLUMNS]))
        except SpoolDamaged as error:
            found.damaged.append((number, str(error)))
        except UnknownFormat as error:
            found.unknown.append((number, str(error)))
    return found


def claim(
    database: Database, tally: Tally, queue: str, ids: Sequence[int], epoch: int, alone: int | None = None
) -> set[int]:
    """Make those of `ids` that still wait in `queue` ACTIVE under `epoch`, if its shard is still ours; return them."""
    if alone is not None and one_is_held(database, epoch):
        ids = [number for number in ids if number != alone]
    tally.correct(queue)
    if database.value("SELECT owner FROM shard WHERE id = ?", shard_of(queue)) != epoch:
        return set()
    text = database.value(
        "SELECT json_group_array(json_array(id, coalesce(waits, state), due)) FROM delivery "
        "WHERE id IN carray(?) AND queue = ? AND state < 2",
        Integers(ids), queue,
    )  # fmt: skip
    rows = _decode_waits(str(text))
    database.run(
        # a column `waits` that rotted away would make nonsense of giving it back
        "UPDATE delivery SET state = 2, epoch = ?, waits = coalesce(waits, state) WHERE id IN carray(?)",
        epoch, Integers([row[0] for row in rows]),
    )  # fmt: skip
    for _, waits, due in rows:
        tally.add(queue, waits, due, -1)
        tally.add(queue, _ACTIVE, due)
    return {row[0] for row in rows}


def postpone(database: Database, tally: Tally, queue: str, ids: Sequence[int], due: float) -> None:
    """Leave rows of formats that we do not know alone until `due`, so that they do not hide what is behind them."""
    database.run("UPDATE delivery SET due = ? WHERE id IN carray(?) AND state < 2", due, Integers(ids))
    tally.correct(queue)


def is_known(database: Database, id: MessageId) -> bool:
    """Whether the message is here, or was: its events outlive it."""
    return bool(
        database.number(
            "SELECT EXISTS(SELECT 1 FROM delivery WHERE message = ?) OR EXISTS(SELECT 1 FROM event WHERE message = ?)",
            id,
            id,
        )
    )


_MESSAGE = "SELECT d.id, m.id, m.meta, m.prefix, m.body, m.sum FROM delivery AS d JOIN message AS m ON m.row = d.mrow"


def load(database: Database, bodies: BodyFolder, id: MessageId) -> StoredMessage | None:
    """Read a message and check it; raise SpoolDamaged or UnknownFormat."""
    found = database.rows(f"{_MESSAGE} WHERE d.message = ? LIMIT 1", id)
    return _message(bodies, id, found[0]) if found else None


def load_many(
    database: Database, bodies: BodyFolder, wanted: Sequence[tuple[int, MessageId]]
) -> list[StoredMessage | SpoolError | UnknownFormat | None]:
    """Read the messages of several deliveries with one statement: each alone would wait for the interpreter lock and back."""
    rows = database.rows(f"{_MESSAGE} WHERE d.id IN carray(?)", Integers([number for number, _ in wanted]))
    found = {row[0]: row for row in rows}
    messages: list[StoredMessage | SpoolError | UnknownFormat | None] = []
    for number, id in wanted:
        row = found.get(number)
        try:
            messages.append(_message(bodies, id, row) if row is not None else None)
        except (SpoolError, UnknownFormat) as error:
            messages.append(error)
    return messages


def _message(bodies: BodyFolder, id: MessageId, row: Sequence[Value]) -> StoredMessage:
    _, named, meta_blob, prefix, inline, sum = row
    if named != id:
        raise SpoolDamaged("delivery names another message's row")
    meta = message_meta(id, meta_blob, prefix, sum)
    body: Body
    if inline is None:
        stored = bodies.stored(id, meta.body_size, meta.body_sum)
        stored.verify()
        body = stored
    else:
        body = _inline(inline, meta)
    return StoredMessage(
        id, meta.received, meta.reverse_path, meta.transmission, cast(bytes, prefix), body, meta.origin, meta.notes
    )


def _inline(data: object, meta: MessageMeta) -> MemoryBody:
    if not isinstance(data, bytes) or len(data) != meta.body_size or crc32(data) != meta.body_sum:
        raise SpoolDamaged("message body failed its checksum")
    return MemoryBody(data, text=meta.text)


def quarantine_message(database: Database, tally: Tally, id: MessageId, reason: str, now: float) -> None:
    """Move a message and all its deliveries into quarantine, with an event that says why."""
    rows = database.rows("SELECT id, mrow FROM delivery WHERE message = ?", id)
    if not rows:
        # it ended between being read and now, and its body file went with it: nothing is damaged
        return
    for mrow in {cast(int, row[1]) for row in rows}:
        database.run("SAVEPOINT damaged")
        try:
            _keep_message(database, id, reason, now, mrow)
            database.run("DELETE FROM message WHERE row = ?", mrow)
        except DatabaseCorrupt:
            # the page itself cannot be read: the row stays where it is, its deliveries go so that nobody runs into it again
            database.run("ROLLBACK TO damaged")
        database.run("RELEASE damaged")
    for number, _ in rows:
        _set_aside(database, tally, cast(int, number), id, reason, now)
    database.insert(EVENT, [event_row(SpoolEvent(now, "message.quarantined", id, {"reason": reason}))])


def quarantine_delivery(database: Database, tally: Tally, number: int, reason: str, now: float) -> None:
    """Move one delivery into quarantine, with an event that says why; its message goes with its last delivery."""
    found = database.rows("SELECT message, mrow FROM delivery WHERE id = ?", number)
    if not found:
        return
    named, mrow = found[0]
    # any column may be NULL here; the id is what quarantine is looked up by
    id = MessageId(named if isinstance(named, bytes) else _id_of(database, mrow))
    _set_aside(database, tally, number, id, reason, now)
    if isinstance(mrow, int) and not database.rows("SELECT 1 FROM delivery WHERE message = ? LIMIT 1", id):
        _keep_message(database, id, "its last delivery is damaged", now, mrow)
        # the body of a large message keeps its file: what is in quarantine can be looked at
        remove_ended(database, [mrow], [])
    database.insert(
        EVENT, [event_row(SpoolEvent(now, "delivery.quarantined", id, {"delivery": number, "reason": reason}))]
    )


def _id_of(database: Database, mrow: Value) -> bytes:
    """Return the id in a message's row, noughts where there is none."""
    found = database.value("SELECT id FROM message WHERE row = ?", mrow)
    return found if isinstance(found, bytes) else bytes(16)


def _keep_message(database: Database, id: MessageId, reason: str, now: float, mrow: int) -> None:
    database.run(
        "INSERT INTO damaged_message SELECT ?, ?, row, coalesce(id, ?), meta, prefix, body, sum FROM message WHERE row = ?",
        now, reason, id, mrow,
    )  # fmt: skip


def _set_aside(database: Database, tally: Tally, number: int, id: MessageId, reason: str, now: float) -> None:
    for queue, state in database.rows("SELECT queue, coalesce(state, waits) FROM delivery WHERE id = ?", number):
        if isinstance(queue, str) and state in range(len(DeliveryState)):
            tally.add(queue, cast(int, state), 0.0, -1)
    database.run("INSERT INTO damaged_delivery SELECT ?, ?, * FROM delivery WHERE id = ?", now, reason, number)
    database.run("UPDATE damaged_delivery SET message = ? WHERE id = ? AND message IS NULL", id, number)
    database.run("DELETE FROM delivery WHERE id = ?", number)
