"""What one worker holds in memory: deliveries, and the messages they belong to (QUEUE.md, promise Q7).

Both are bounded: `deliveries` counts entries from the moment they are ours until their outcome is durable, `bodies` the octets of bodies
held for them. At the first bound new mail is born READY in the spool and nothing is claimed; at the second a body is dropped and read
again from the spool when its turn comes. One message that goes to many sites is held once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from upesi.mail.body import MemoryBody
from upesi.mail.ids import MessageId
from upesi.spool.records import Delivery, StoredMessage

if TYPE_CHECKING:
    from upesi.scheduler.paths import Path

__all__ = ["Bodies", "Entry", "Held", "Memory"]


class Held:
    """A message in memory and how many entries point to it."""

    __slots__ = ("cost", "message", "refs")

    def __init__(self, message: StoredMessage, cost: int) -> None:
        self.message = message
        self.cost = cost
        self.refs = 0


class Entry:
    """One delivery in memory.

    `started` from the moment it is charged to a connection until its outcome is durable; `cleared` when plugins have been asked
    about its attempt (`gate`).
    """

    __slots__ = ("cleared", "delivery", "held", "path", "started")

    def __init__(self, delivery: Delivery, held: Held | None) -> None:
        self.delivery = delivery
        self.held = held
        self.path: Path | None = None
        self.started = False
        self.cleared = False


class Bodies:
    """The messages that entries hold, under a budget of octets."""

    __slots__ = ("_held", "budget", "used")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.used = 0
        self._held: dict[MessageId, Held] = {}

    def find(self, message: MessageId) -> Held | None:
        """Return the message if some entry holds it."""
        return self._held.get(message)

    def offer(self, message: StoredMessage) -> Held | None:
        """Return `message` to be held by entries, None where its body does not fit the budget."""
        cost = _cost(message)
        if self.used + cost > self.budget:
            return None
        return self._keep(message, cost)

    def insist(self, message: StoredMessage) -> Held:
        """Return `message` to be held whatever the budget says: its turn has come. Bounded by the connections, not by the budget."""
        return self._keep(message, _cost(message))

    def attach(self, entry: Entry, held: Held) -> None:
        """Let `entry` hold the message."""
        held.refs += 1
        entry.held = held

    def detach(self, entry: Entry) -> None:
        """Let `entry` go; the message goes with its last entry."""
        held = entry.held
        if held is None:
            return
        entry.held = None
        held.refs -= 1
        if not held.refs:
            self.used -= held.cost
            del self._held[held.message.id]

    def _keep(self, message: StoredMessage, cost: int) -> Held:
        held = self._held.get(message.id)
        if held is None:
            held = self._held[message.id] = Held(message, cost)
            self.used += cost
        return held


def _cost(message: StoredMessage) -> int:
    # a large body is a file that is read as it is sent: it costs no memory here
    return len(message.prefix) + (message.body.size if isinstance(message.body, MemoryBody) else 0)


class Memory:
    """Every delivery that is ACTIVE under our epoch, by id."""

    __slots__ = ("bodies", "entries", "limit")

    def __init__(self, deliveries: int, bodies: int) -> None:
        self.limit = deliveries
        self.entries: dict[int, Entry] = {}
        self.bodies = Bodies(bodies)

    @property
    def free(self) -> int:
        """How many more deliveries may be taken in; not negative."""
        return max(0, self.limit - len(self.entries))

    def add(self, delivery: Delivery, held: Held | None) -> Entry:
        """Take in a delivery."""
        entry = self.entries[delivery.id] = Entry(delivery, None)
        if held is not None:
            held.refs += 1
            entry.held = held
        return entry

    def forget(self, entry: Entry) -> None:
        """Let a delivery go."""
        self.entries.pop(entry.delivery.id, None)
        self.bodies.detach(entry)
