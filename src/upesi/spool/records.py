"""The records that cross the spool's border. Times are wall-clock seconds (Unix), sizes octets."""

from __future__ import annotations

import enum
import zlib

import msgspec

from upesi.mail.address import Address
from upesi.mail.body import Body
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.handling import Labels
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome
from upesi.mail.route import Route

__all__ = [
    "RETURNED", "SHARDS", "Completion", "Delivery", "DeliveryState", "NewDelivery", "NewMessage",
    "QueueHead", "SpoolEvent", "StoredMessage", "receiver_of", "shard_of", "stored",
]  # fmt: skip

# Enough that eight workers on each of eight nodes own four each; few enough that all fit in one query
SHARDS = 256


def receiver_of(queue: str) -> str:
    """Return what a queue key says of the receiver: all before the marks of how its mail is sent ("mx:a.example;tls=verify")."""
    return queue.partition(";")[0]


def shard_of(queue: str) -> int:
    """Return the shard of a queue key; the same on every node and in every version of this format.

    Queues of one receiver are in one shard: its limits hold for all of them, and are kept by one owner (promise Q3).
    """
    return zlib.crc32(receiver_of(queue).encode()) % SHARDS


# An expiry of a delivery that an operator wants returned to its sender without another attempt
RETURNED = 0.0


class DeliveryState(enum.IntEnum):
    """The life of a delivery. ACTIVE means: in the memory of the worker whose epoch the row names."""

    ROUTING = 0
    READY = 1
    ACTIVE = 2
    HELD = 3


class NewDelivery(msgspec.Struct, frozen=True):
    """One delivery of a message that is being accepted, or of a part that is to be tried again.

    `queue` is the key of the queue it waits in: the site's where it is known ("host:127.0.0.1:2603"), "domain:..."
    while the state is ROUTING.
    With `claim`, the row is born ACTIVE under this worker's epoch if this worker owns the shard (else READY). With `held` it waits until an
    operator releases it, and then in `state`.
    """

    queue: str
    route: Route
    recipients: tuple[Recipient, ...]
    due: float
    expires: float
    state: DeliveryState = DeliveryState.READY
    attempts: int = 0
    last: Outcome | None = None
    claim: bool = False
    held: bool = False


class NewMessage(msgspec.Struct, frozen=True):
    """A message to make durable, with all its deliveries, in one transaction.

    `prefix` is what goes in front of the body on every copy (trace and added fields). `origin` is for people (client, HELO name, listener);
    `notes` are the plugins' notes that travel to delivery.
    """

    id: MessageId
    received: float
    reverse_path: Address | None
    transmission: Transmission
    prefix: bytes
    body: Body
    deliveries: tuple[NewDelivery, ...]
    origin: dict[str, str] = {}
    notes: dict[str, bytes] = {}
    events: tuple[SpoolEvent, ...] = ()


class Delivery(msgspec.Struct, frozen=True):
    """A delivery as the spool knows it. `id` is unique for ever; `size` is prefix and body together."""

    id: int
    message: MessageId
    queue: str
    state: DeliveryState
    route: Route
    recipients: tuple[Recipient, ...]
    received: float
    due: float
    expires: float
    attempts: int = 0
    size: int = 0
    last: Outcome | None = None

    @property
    def labels(self) -> Labels:
        """What plugins called this mail: all recipients of one delivery have the same."""
        return self.recipients[0].labels


class StoredMessage(msgspec.Struct, frozen=True):
    """A message read back for delivery; checksums of row and body have been checked."""

    id: MessageId
    received: float
    reverse_path: Address | None
    transmission: Transmission
    prefix: bytes
    body: Body
    origin: dict[str, str]
    notes: dict[str, bytes]


def stored(message: NewMessage) -> StoredMessage:
    """Return a message that was just made durable as the spool would read it back."""
    return StoredMessage(
        message.id,
        message.received,
        message.reverse_path,
        message.transmission,
        message.prefix,
        message.body,
        message.origin,
        message.notes,
    )


class QueueHead(msgspec.Struct, frozen=True, gc=False):
    """One queue of the index: how many deliveries wait in it and when the first is due."""

    queue: str
    ready: int
    next_due: float


class SpoolEvent(msgspec.Struct, frozen=True):
    """One row of the durable history: the accounting record, the timeline of a message, the history of the limits.

    `kind` is "message.accepted", "delivery.delivered", "delivery.deferred", "delivery.failed", "message.bounced", "delivery.held", ...
    """

    at: float
    kind: str
    message: MessageId
    fields: dict[str, str | int | float]


class Completion(msgspec.Struct, frozen=True):
    """The end of one attempt of one delivery: what remains of it, what follows from it, and what is remembered, in one transaction.

    `remaining` replaces the delivery (empty: it is done; the message goes when its last delivery has gone). `spawn`
    are new messages (a DSN). Nothing happens
    if the delivery is no longer ACTIVE under our epoch: a stale owner changes nothing.
    """

    delivery: int
    message: MessageId
    remaining: tuple[NewDelivery, ...] = ()
    spawn: tuple[NewMessage, ...] = ()
    events: tuple[SpoolEvent, ...] = ()
