"""The spool's interface: one small, batched contract with one test suite that every engine passes (QUEUE.md).

Two kinds of calls. *Grouped writes* (`accept`, `complete`, `release`) return at once; all that were made since the last commit go in one
transaction on the writer thread, and each `done` is called on the event loop after the commit of its own batch is
durable. *Queries* are coroutines.

Where that takes long an engine may say earlier that a message is committed (`begun`): every member sees it, and only a power cut or
a failed sync still takes it back. What is sent meanwhile is sent (docs/adr/0007-cut-through.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from upesi.mail.errors import UpesiError
from upesi.mail.ids import MessageId
from upesi.spool.records import Completion, Delivery, NewMessage, QueueHead, StoredMessage

__all__ = ["AcceptDone", "Begun", "CompleteDone", "SpoolDamaged", "SpoolError", "SpoolFull", "SpoolLocked", "Store"]


class SpoolError(UpesiError):
    """The store could not do it now (I/O error, busy, gone): 451 4.3.0 to a client."""


class SpoolFull(SpoolError):
    """No room, or below the free-space mark: 452 4.3.1."""

    status = "4.3.1"


class SpoolDamaged(SpoolError):
    """A row or body failed its checksum; it has been put in quarantine with this reason."""


class SpoolLocked(SpoolError):
    """Another instance has this spool."""


# None for success; the deliveries that were born ACTIVE under our epoch come with it
AcceptDone = Callable[[SpoolError | None, Sequence[Delivery]], None]
# the deliveries that were born ACTIVE under our epoch; `done` follows
Begun = Callable[[Sequence[Delivery]], None]
# (error, applied, deliveries born ACTIVE from `remaining` and `spawn`): applied is False where the delivery was no longer ours
CompleteDone = Callable[[SpoolError | None, bool, Sequence[Delivery]], None]


class Store(Protocol):
    """What a worker asks of the spool. All methods are called on the event loop's thread."""

    @property
    def epoch(self) -> int:
        """This member's epoch."""
        ...

    def owns(self, queue: str) -> bool:
        """Whether the shard of `queue` is ours, as far as we were last told (`set_shards`)."""
        ...

    def set_shards(self, shards: frozenset[int]) -> None:
        """Take note of the shards that the supervisor gave us."""
        ...

    def full(self) -> bool:
        """Whether new mail is refused with 452 now (below the free-space mark; measured once a second, never per message)."""
        ...

    def accept(self, message: NewMessage, done: AcceptDone, begun: Begun | None = None) -> None:
        """Make `message` durable, then call `done`. One bad message fails alone.

        `begun` may be called before: the message is committed, and not durable yet. If `done` brings an error then, it is taken back.
        """
        ...

    def complete(self, completion: Completion, done: CompleteDone) -> None:
        """Record the end of an attempt, then call `done`."""
        ...

    def release(self, deliveries: Sequence[int]) -> None:
        """Give back ACTIVE deliveries that were not attempted: READY again, nothing counted."""
        ...

    async def heads(self, now: float, limit: int) -> list[QueueHead]:
        """Return queues of our shards with something due at `now`, most overdue first."""
        ...

    async def next_due(self) -> float | None:
        """Return when the first delivery of our shards becomes due, None where nothing waits."""
        ...

    async def claim(self, queue: str, now: float, limit: int) -> list[Delivery]:
        """Make up to `limit` due deliveries of `queue` ACTIVE under our epoch and return them, earliest due first."""
        ...

    async def claim_expired(self, queues: Collection[str], now: float, limit: int) -> list[Delivery]:
        """Make up to `limit` waiting deliveries of `queues` whose time was over at `now` ACTIVE under our epoch; return them."""
        ...

    async def load(self, message: MessageId) -> StoredMessage | None:
        """Read a message for delivery; None if it has gone. Raise SpoolDamaged after quarantining what failed its checksum."""
        ...

    async def load_many(self, wanted: Sequence[tuple[int, MessageId]]) -> list[StoredMessage | SpoolError | None]:
        """Read the messages of these deliveries (id, message) in one go; what `load` would raise for one stands in its place."""
        ...

    async def kept(self, message: MessageId) -> bool:
        """Whether `message` was ever accepted by any member; durable then. Raise SpoolError.

        As far as history goes back: of a message that has gone its events are asked.
        """
        ...

    async def close(self) -> None:
        """Finish the writes that were handed in, and let go."""
        ...
