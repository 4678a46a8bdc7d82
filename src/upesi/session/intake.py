"""What a session asks of the rest of the house: where mail goes, and to make it durable. `runtime` implements it.

So accepting never sees sending: the two meet in spool records only (ARCHITECTURE.md, import rule 3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from upesi.mail.address import Address
from upesi.mail.body import Body
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome
from upesi.mail.route import Route
from upesi.spool.records import DeliveryState, NewMessage
from upesi.spool.store import SpoolError, SpoolFull

__all__ = ["BodyWriter", "Intake", "MemoryFull", "Placement"]


class MemoryFull(SpoolFull):
    """Message data takes all the memory that it may: 452 4.3.1 as on a full disk, in other words."""


class Placement(msgspec.Struct, frozen=True, gc=False):
    """The queue in which a delivery waits, its first state, and whether this worker claims it at once."""

    queue: str
    state: DeliveryState = DeliveryState.READY
    claim: bool = False


class BodyWriter(Protocol):
    """Takes the octets of one message as they come. Each method may raise SpoolError (no room, I/O error)."""

    def write(self, data: bytes) -> None:
        """Append `data`."""
        ...

    def finish(self) -> Body:
        """Return all that was written, as a body."""
        ...

    def discard(self) -> None:
        """Let go, always, before or after `finish`; harmless to what has been accepted."""
        ...


class Intake(Protocol):
    """The way into the queue. No call blocks or awaits."""

    @property
    def lifetime(self) -> float:
        """Seconds after which mail that could not be delivered is given up."""
        ...

    def full(self) -> bool:
        """Whether new mail is answered 452 now."""
        ...

    def starved(self) -> bool:
        """Whether that is for want of memory, and not of disk."""
        ...

    def body_writer(self) -> BodyWriter:
        """Return a writer for one message; raise MemoryFull."""
        ...

    def default_route(self, address: Address) -> Route:
        """Return what the configuration says for this recipient."""
        ...

    def place(self, route: Route) -> Placement:
        """Return where a delivery by `route` waits."""
        ...

    def accept(self, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        """Make `message` durable, then call `done` on the event loop: with None after the commit, else with the reason."""
        ...

    def report(self, message: NewMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage | None:
        """Return the DSN for recipients of `message` that were all refused after its data, or all expanded; None where none may be sent."""
        ...
