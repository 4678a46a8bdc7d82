"""Mail that was set aside because a checksum failed: looking at it, letting it go on, deleting it for good (STO-06).

What is released is never guessed. A delivery whose row is damaged is not released: its recipients may be others than the sender
named; nor a message whose envelope is. A body that fails its checksum is released only where the operator says so. What cannot be released
can still be read (`content`) and handed in again by a person. Nothing here leaves quarantine by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast
from zlib import crc32

import msgspec

from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Database, Value
from upesi.mail.body import READ_SIZE, Body, MemoryBody
from upesi.mail.ids import MessageId, message_id_from
from upesi.spool.bodies import BodyFolder
from upesi.spool.body_file import FileBody
from upesi.spool.folder import database_failure
from upesi.spool.records import NewMessage, SpoolEvent
from upesi.spool.rows import (
    DELIVERY_COLUMNS,
    UnknownFormat,
    delivery_from,
    event_row,
    message_meta,
    message_row,
    recipients_of,
)
from upesi.spool.schema import EVENT, MESSAGE
from upesi.spool.store import SpoolDamaged, SpoolError
from upesi.spool.tally import Tally

__all__ = ["Quarantine", "Quarantined", "SetAside"]

T = TypeVar("T")

_BOTH = (
    "SELECT id AS message, at, reason FROM damaged_message UNION ALL SELECT message, at, reason FROM damaged_delivery"
)
# a message has no index on its id: its deliveries know its row
_LIVE = (
    "SELECT row, meta, prefix, body, sum FROM message WHERE id = ?1 AND row IN "
    "(SELECT mrow FROM delivery WHERE message = ?1 UNION SELECT mrow FROM damaged_delivery WHERE message = ?1) LIMIT 1"
)
_DAMAGED = "SELECT row, meta, prefix, body, sum FROM damaged_message WHERE id = ? LIMIT 1"
_BACK = (
    "INSERT INTO delivery SELECT id, message, mrow, queue, waits, waits, 0, ?, expires, received, attempts, size, file, sender, data, sum "
    "FROM damaged_delivery WHERE rowid = ?"
)


class SetAside(msgspec.Struct, frozen=True):
    """One delivery in quarantine. `recipients` is what can be read; `problem` says why it cannot be released, empty where it can."""

    queue: str
    recipients: tuple[str, ...]
    reason: str
    problem: str


class Quarantined(msgspec.Struct, frozen=True):
    """A message with something in quarantine: since when and why. `problem` says what is wrong with the message itself now."""

    message: str
    at: float
    reason: str
    sender: str
    received: float
    size: int
    problem: str
    deliveries: tuple[SetAside, ...]


class _Unsound(msgspec.Struct, frozen=True):
    """What is wrong with a message; `body` where only its body is, which an operator may accept."""

    text: str
    body: bool = False


class Quarantine:
    """The quarantine of a spool that we hold the lock of. All methods raise SpoolError, and ValueError for what is no message id."""

    __slots__ = ("_bodies", "_database", "_now")

    def __init__(self, database: Database, bodies: BodyFolder, now: Callable[[], float]) -> None:
        self._database = database
        self._bodies = bodies
        self._now = now

    # looking

    def list(self, limit: int = 1000) -> Sequence[Quarantined]:
        """Return up to `limit` messages, the oldest first."""
        sql = f"SELECT message FROM ({_BOTH}) GROUP BY message ORDER BY min(at), message LIMIT ?"
        rows = self._guarded(lambda: self._database.rows(sql, limit))
        found = [self.show(cast(bytes, row[0]).hex()) for row in rows]
        return [each for each in found if each is not None]

    def show(self, message: str) -> Quarantined | None:
        """Return what is known of one message, None where nothing of it is in quarantine."""
        id = message_id_from(message)
        return self._guarded(lambda: self._show(id))

    def content(self, message: str, start: int, length: int) -> bytes:
        """Return up to `length` octets of a message as they were found, from `start`; damaged or not. Nothing behind the end."""
        id = message_id_from(message)
        return self._guarded(lambda: self._content(id, start, length))

    # changing

    def release(self, message: str, *, damaged_body: bool = False) -> int:
        """Let what can be released go on, due now; return how many deliveries that is.

        `damaged_body` accepts a body that fails its checksum as it was found. Raise SpoolDamaged, with nothing changed and the
        reason, where nothing can be released.
        """
        id = message_id_from(message)
        return self._guarded(lambda: self._release(id, damaged_body))

    def delete(self, message: str) -> int:
        """Remove a message from quarantine for good; return how many rows went (0: there was nothing)."""
        id = message_id_from(message)
        return self._guarded(lambda: self._delete(id))

    # how

    def _show(self, id: MessageId) -> Quarantined | None:
        marks = self._database.rows(f"SELECT at, reason FROM ({_BOTH}) WHERE message = ? ORDER BY at", id)
        if not marks:
            return None
        set_aside = [self._set_aside(row) for row in self._deliveries(id)]
        # for people to recognise it by; what counts is in the message
        known = self._database.rows("SELECT sender, received, size FROM damaged_delivery WHERE message = ? LIMIT 1", id)
        sender, received, size = known[0] if known else ("", 0.0, 0)
        unsound = self._unsound(id)
        at, reason = marks[0]
        return Quarantined(
            id.hex(), cast(float, at), str(reason), str(sender), cast(float, received), cast(int, size),
            unsound.text if unsound else "", tuple(set_aside),
        )  # fmt: skip

    def _deliveries(self, id: MessageId) -> Sequence[tuple[Value, ...]]:
        sql = f"SELECT rowid, reason, {DELIVERY_COLUMNS} FROM damaged_delivery WHERE message = ? ORDER BY id"
        return [tuple(row) for row in self._database.rows(sql, id)]

    def _set_aside(self, row: Sequence[Value]) -> SetAside:
        _, reason, *columns = row
        data = columns[9]
        recipients = recipients_of(data) if isinstance(data, bytes) else ()
        names = tuple(str(recipient.address) for recipient in recipients)
        return SetAside(str(columns[2]), names, str(reason), _problem(columns))

    def _found(self, id: MessageId) -> tuple[str, Sequence[Value]] | None:
        """Return the table that has the message, and (row, meta, prefix, body, sum)."""
        for table, sql in (("message", _LIVE), ("damaged_message", _DAMAGED)):
            if found := self._database.rows(sql, id):
                return table, found[0]
        return None

    def _unsound(self, id: MessageId) -> _Unsound | None:
        """Return what is wrong with a message now; None where it could be sent."""
        found = self._found(id)
        if found is None:
            return _Unsound("the message itself cannot be read any more")
        _, meta_blob, prefix, inline, sum = found[1]
        try:
            meta = message_meta(id, meta_blob, prefix, sum)
        except (SpoolDamaged, UnknownFormat) as error:
            return _Unsound(str(error))
        try:
            if inline is None:
                self._bodies.stored(id, meta.body_size, meta.body_sum).verify()
            elif not isinstance(inline, bytes) or (len(inline), crc32(inline)) != (meta.body_size, meta.body_sum):
                raise SpoolDamaged("message body failed its checksum")
        except SpoolError as error:
            return _Unsound(str(error), body=True)
        return None

    def _body(self, id: MessageId, inline: Value) -> Body:
        """Return the octets that there are; raise SpoolError."""
        if isinstance(inline, bytes):
            return MemoryBody(inline)
        path = self._bodies.path(id)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise SpoolDamaged(f"its body cannot be read: {error.strerror}") from error
        body = FileBody(path, size, 0)
        found = 0
        for piece in body.chunks():
            found = crc32(piece, found)
        return FileBody(path, size, found)

    def _content(self, id: MessageId, start: int, length: int) -> bytes:
        found = self._found(id)
        if found is None:
            raise SpoolDamaged("the message itself cannot be read any more")
        _, _, prefix, inline, _ = found[1]
        head = prefix if isinstance(prefix, bytes) else b""
        piece = head[start : start + length]
        if len(piece) < length:
            offset = max(0, start - len(head))
            if isinstance(inline, bytes):
                piece += inline[offset : offset + length - len(piece)]
            else:
                piece += FileBody(self._bodies.path(id), 0, 0).read(offset, min(length - len(piece), READ_SIZE))
        return piece

    def _release(self, id: MessageId, damaged_body: bool) -> int:
        unsound = self._unsound(id)
        if unsound is not None and not (unsound.body and damaged_body):
            raise SpoolDamaged(f"{id.hex()} cannot be released: {unsound.text}")
        rows = self._deliveries(id)
        problems = {cast(int, row[0]): _problem(row[2:]) for row in rows}
        sound = [number for number, problem in problems.items() if not problem]
        if not sound:
            reason = next(iter(problems.values()), "none of its deliveries is in quarantine")
            raise SpoolDamaged(f"{id.hex()} cannot be released: {reason}")
        now = self._now()
        tally = Tally()
        with self._database.transaction():
            self._restore(id, rewrite=unsound is not None)
            for number in sound:
                self._database.run(_BACK, now, number)
                for queue, waits in self._database.rows(
                    "SELECT queue, waits FROM damaged_delivery WHERE rowid = ?", number
                ):
                    tally.add(str(queue), cast(int, waits), now)
                self._database.run("DELETE FROM damaged_delivery WHERE rowid = ?", number)
            fields: dict[str, str | int | float] = {"deliveries": len(sound), "damaged_body": int(unsound is not None)}
            self._database.insert(EVENT, [event_row(SpoolEvent(now, "message.released", id, fields))])
            tally.write(self._database)
        return len(sound)

    def _restore(self, id: MessageId, *, rewrite: bool) -> None:
        """Put the message back into its table, where it is not there; with `rewrite` its body is taken for what it is now."""
        found = self._found(id)
        assert found is not None
        table, (row, meta_blob, prefix, inline, sum) = found
        values: tuple[Value, ...] = (row, id, meta_blob, prefix, inline, sum)
        if rewrite:
            meta = message_meta(id, meta_blob, prefix, sum)
            body = self._body(id, inline)
            message = NewMessage(
                id, meta.received, meta.reverse_path, meta.transmission, cast(bytes, prefix), body, (), meta.origin, meta.notes
            )  # fmt: skip
            body_sum = body.sum if isinstance(body, FileBody) else crc32(cast(bytes, inline))
            values = message_row(cast(int, row), message, cast("bytes | None", inline), body_sum)
        self._database.run(f"DELETE FROM {table} WHERE row = ?", row)
        self._database.insert(MESSAGE, [values])

    def _delete(self, id: MessageId) -> int:
        now = self._now()
        with self._database.transaction():
            count = self._database.number(f"SELECT count(*) FROM ({_BOTH}) WHERE message = ?", id)
            if not count:
                return 0
            kept = bool(self._database.rows(_LIVE, id))
            self._database.run("DELETE FROM damaged_message WHERE id = ?", id)
            self._database.run("DELETE FROM damaged_delivery WHERE message = ?", id)
            self._database.insert(EVENT, [event_row(SpoolEvent(now, "message.deleted", id, {"rows": count}))])
        if not kept:
            # after the commit: a crash in between leaves a file without a row, which the next start removes
            self._bodies.remove(id)
        return count

    def _guarded(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except DatabaseError as error:
            raise database_failure(error) from error


def _problem(columns: Sequence[Value]) -> str:
    """Return why a delivery's row may not be used, empty where it may. `columns` are DELIVERY_COLUMNS."""
    try:
        delivery_from(columns)
    except (SpoolDamaged, UnknownFormat) as error:
        return str(error)
    return ""
