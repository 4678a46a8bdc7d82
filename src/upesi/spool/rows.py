"""Records to rows and back, with checksums: the only place that knows how they are written.

`meta` and `data` are msgpack tuples that start with their own version. Checksums are CRC-32: they are there for bit rot and
torn writes, not against an attacker (who can write the file can write the checksum), and cost 1 microsecond for 4 kB
where BLAKE2b costs 5. Columns that change in place (state, epoch, due) are outside the checksum.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import msgspec

from upesi.database.sqlite import Value
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome
from upesi.mail.route import Route, decode_route, encode_route
from upesi.spool.records import Delivery, DeliveryState, NewDelivery, NewMessage, SpoolEvent
from upesi.spool.store import SpoolDamaged

__all__ = [
    "DELIVERY_COLUMNS", "DeliveryRow", "MessageMeta", "UnknownFormat", "delivery_from", "delivery_row", "event_from", "event_row",
    "message_meta", "message_row", "recipients_of", "sender_of",
]  # fmt: skip

_VERSION = 1

Row = tuple[Value, ...]

DELIVERY_COLUMNS = "id, message, queue, state, due, expires, received, attempts, size, data, sum"


class UnknownFormat(Exception):
    """A row that a newer program wrote: it waits, loudly, and is not damaged."""


class MessageMeta(msgspec.Struct, frozen=True, array_like=True):
    """The small part of a message. What came after the first layout stands at the end: older programs read over it, older rows lack it.

    `text` says of a body in the row what `MemoryBody` says: whoever sends it need not look at every octet again.
    """

    version: int
    received: float
    reverse_path: Address | None
    transmission: Transmission
    origin: dict[str, str]
    notes: dict[str, bytes]
    body_size: int
    body_sum: int
    text: bool = False


class _DeliveryData(msgspec.Struct, frozen=True, array_like=True):
    version: int
    recipients: tuple[Recipient, ...]
    route: bytes
    last: Outcome | None


class DeliveryRow(msgspec.Struct):
    """A delivery on its way into the table; what the message lends to it is filled in by whoever knows the message."""

    id: int
    queue: str
    state: DeliveryState
    waits: DeliveryState
    due: float
    expires: float
    attempts: int
    data: bytes
    new: NewDelivery

    def values(self, message: MessageId, mrow: int, lent: tuple[float, int, int, str], epoch: int) -> Row:
        """Return the column values; `lent` is (received, size, file, sender) of the message."""
        received, size, file, sender = lent
        holder = epoch if self.state is DeliveryState.ACTIVE else 0
        return (
            self.id, message, mrow, self.queue, int(self.state), int(self.waits), holder, self.due, self.expires, received,
            self.attempts, size, file, sender, self.data, _delivery_sum(self.id, message, self.data),
        )  # fmt: skip

    def record(self, message: MessageId, received: float, size: int) -> Delivery:
        """Return the delivery as the scheduler knows it."""
        new = self.new
        return Delivery(
            self.id, message, self.queue, self.state, new.route, new.recipients, received, self.due,
            self.expires, self.attempts, size, new.last,
        )  # fmt: skip


_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(MessageMeta).decode
_decode_data = msgspec.msgpack.Decoder(_DeliveryData).decode
_decode_fields = msgspec.msgpack.Decoder(dict[str, str | int | float]).decode


def sender_of(message: NewMessage) -> str:
    """Return the reverse-path as selectors see it; empty for the null path."""
    return "" if message.reverse_path is None else str(message.reverse_path)


def _delivery_sum(number: int, message: bytes, data: bytes) -> int:
    return crc32(data, crc32(message, number & 0xFFFFFFFF))


def _message_sum(id: bytes, meta: bytes, prefix: bytes) -> int:
    return crc32(prefix, crc32(meta, crc32(id)))


def message_row(row: int, message: NewMessage, body: bytes | None, body_sum: int) -> Row:
    """Return the column values of a message; `body` is None where it is a file."""
    meta = _encode(
        MessageMeta(
            _VERSION, message.received, message.reverse_path, message.transmission, message.origin, message.notes,
            message.body.size, body_sum, type(message.body) is MemoryBody and message.body.text,
        )
    )  # fmt: skip
    return row, message.id, meta, message.prefix, body, _message_sum(message.id, meta, message.prefix)


def delivery_row(number: int, new: NewDelivery, state: DeliveryState) -> DeliveryRow:
    """Encode a new delivery as number `number`, born in `state`."""
    waits = DeliveryState.ROUTING if new.state is DeliveryState.ROUTING else DeliveryState.READY
    data = _encode(_DeliveryData(_VERSION, new.recipients, encode_route(new.route), new.last))
    return DeliveryRow(number, new.queue, state, waits, new.due, new.expires, new.attempts, data, new)


def recipients_of(data: bytes) -> tuple[Recipient, ...]:
    """Return the recipients in a delivery's `data`; none where it cannot be read."""
    try:
        return _decode_data(data).recipients
    except (msgspec.DecodeError, ValueError):
        return ()


def event_row(event: SpoolEvent) -> Row:
    """Return the column values of an event."""
    return event.at, event.kind, event.message, _encode(event.fields)


def event_from(row: Sequence[Value]) -> SpoolEvent:
    """Read (at, kind, message, fields); raise SpoolDamaged."""
    at, kind, message, fields = row
    try:
        return SpoolEvent(float(at), str(kind), MessageId(bytes(message)), _decode_fields(bytes(fields)))  # type: ignore[arg-type]
    except (msgspec.DecodeError, TypeError, ValueError) as error:
        raise SpoolDamaged(f"event cannot be read: {error}") from error


def message_meta(id: bytes, meta: Value, prefix: Value, sum: Value) -> MessageMeta:
    """Check a message row and read its small part; raise SpoolDamaged or UnknownFormat."""
    if not isinstance(meta, bytes) or not isinstance(prefix, bytes):
        raise SpoolDamaged("message row has values of the wrong type")
    if _message_sum(id, meta, prefix) != sum:
        raise SpoolDamaged("message row failed its checksum")
    try:
        return _decode_meta(meta)
    except (msgspec.DecodeError, ValueError) as error:
        _refuse_newer(meta)
        raise SpoolDamaged(f"message row cannot be read: {error}") from error


def delivery_from(row: Sequence[Value]) -> Delivery:
    """Read DELIVERY_COLUMNS; raise SpoolDamaged or UnknownFormat."""
    number, message, queue, state, due, expires, received, attempts, size, data, sum = row
    if not isinstance(data, bytes) or not isinstance(message, bytes) or not isinstance(number, int):
        raise SpoolDamaged("delivery row has values of the wrong type")
    if _delivery_sum(number, message, data) != sum:
        raise SpoolDamaged("delivery row failed its checksum")
    try:
        read = _decode_data(data)
    except (msgspec.DecodeError, ValueError) as error:
        _refuse_newer(data)
        raise SpoolDamaged(f"delivery row cannot be read: {error}") from error
    if read.version != _VERSION:
        raise UnknownFormat(f"delivery format {read.version}")
    try:
        route: Route = decode_route(read.route)
    except (msgspec.DecodeError, ValueError) as error:
        # the checksum held, so this is what somebody wrote: a route of a newer program (QUEUE.md: unknown formats wait)
        raise UnknownFormat(f"route: {error}") from error
    if not isinstance(queue, str):
        raise SpoolDamaged("delivery row has values of the wrong type")
    try:
        return Delivery(
            number, MessageId(message), queue, DeliveryState(int(state)), route, read.recipients, float(received), float(due),  # type: ignore[arg-type]
            float(expires), int(attempts), int(size), read.last,  # type: ignore[arg-type]
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        # columns that the checksum does not cover: NULL, or a state that is none
        raise SpoolDamaged("delivery row has values of the wrong type") from error


def _refuse_newer(blob: bytes) -> None:
    try:
        version = msgspec.msgpack.decode(blob)[0]
    except (msgspec.DecodeError, ValueError, TypeError, IndexError, KeyError):
        return
    if isinstance(version, int) and version > _VERSION:
        raise UnknownFormat(f"row format {version}")
