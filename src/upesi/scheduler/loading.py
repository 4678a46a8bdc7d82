"""Reading messages back from the spool for entries that have none in memory: several at a time, each message once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from upesi.mail.ids import MessageId
from upesi.scheduler.memory import Entry, Memory
from upesi.scheduler.tasks import Emit, Tasks
from upesi.spool.records import Delivery, StoredMessage
from upesi.spool.store import SpoolDamaged, SpoolError, Store

__all__ = ["Loading"]

# Reads under way at once: the store reads on one thread, so one is served while the next is gathered
_READERS = 2

# Messages in one read: a journey to the reading thread and back costs as much as ten messages; more would only pile up bodies
_AT_ONCE = 16

_Ready = Callable[[Entry], None]


class Loading:
    """Loads messages; `lost` is told of entries whose message is gone or damaged, `postponed` of those the store could not read now."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        tasks: Tasks,
        emit: Emit,
        lost: Callable[[Entry], None],
        postponed: Callable[[Entry], None],
    ) -> None:
        self._store = store
        self._memory = memory
        self._tasks = tasks
        self._emit = emit
        self._lost = lost
        self._postponed = postponed
        # message -> delivery id -> who wants it; the latest wish of an entry stands
        self._wanted: dict[MessageId, dict[int, tuple[Entry, _Ready]]] = {}
        self._order: deque[MessageId] = deque()
        self._readers = 0

    def want(self, entry: Entry, ready: _Ready) -> None:
        """Call `ready(entry)`, now or later, when its message is in memory. A second wish for the same entry replaces the first."""
        if entry.held is None and (held := self._memory.bodies.find(entry.delivery.message)) is not None:
            self._memory.bodies.attach(entry, held)
        if entry.held is not None:
            ready(entry)
            return
        message = entry.delivery.message
        wishes = self._wanted.get(message)
        if wishes is not None:
            wishes[entry.delivery.id] = entry, ready
            return
        self._wanted[message] = {entry.delivery.id: (entry, ready)}
        self._order.append(message)
        if self._readers < _READERS:
            self._readers += 1
            self._tasks.run(self._read())

    async def fetch(self, deliveries: Sequence[Delivery]) -> dict[MessageId, StoredMessage]:
        """Read the messages of deliveries that were just claimed, as many as memory has room for: one journey for all of them.

        What is missing from the answer is read when its turn comes; only then it matters that it could not be.
        """
        bodies = self._memory.bodies
        room = bodies.budget - bodies.used
        wanted: dict[MessageId, int] = {}
        for delivery in deliveries:
            room -= delivery.size
            if room < 0:
                break
            if bodies.find(delivery.message) is None:
                wanted[delivery.message] = delivery.id
        if not wanted:
            return {}
        try:
            found = await self._store.load_many([(id, message) for message, id in wanted.items()])
        except SpoolError:
            return {}
        return {stored.id: stored for stored in found if isinstance(stored, StoredMessage)}

    async def _read(self) -> None:
        """Read until nobody wants anything: a task serves many messages, and reads what is wanted by now in one go."""
        try:
            while self._order:
                await self._load([self._order.popleft() for _ in range(min(_AT_ONCE, len(self._order)))])
        finally:
            self._readers -= 1

    async def _load(self, messages: list[MessageId]) -> None:
        # any delivery of a message leads to it
        wanted = [(next(iter(self._wanted[message])), message) for message in messages if message in self._wanted]
        try:
            found: list[StoredMessage | SpoolError | None] = await self._store.load_many(wanted)
        except SpoolError as error:
            found = [error] * len(wanted)
        for (_, message), stored in zip(wanted, found, strict=True):
            if isinstance(stored, StoredMessage):
                self._give(message, stored)
            elif isinstance(stored, SpoolError) and not isinstance(stored, SpoolDamaged):
                self._emit("spool.failed", {"message": message.hex(), "error": type(stored).__name__})
                self._tell(message, self._postponed)
            else:
                if stored is not None:
                    # the store has put it in quarantine with the reason
                    self._emit("message.damaged", {"message": message.hex(), "error": type(stored).__name__})
                self._tell(message, self._lost)

    def _give(self, message: MessageId, stored: StoredMessage) -> None:
        wishes = [each for each in self._wanted.pop(message, {}).values() if self._alive(each[0])]
        if not wishes:
            return
        bodies = self._memory.bodies
        held = bodies.insist(stored)
        for entry, _ in wishes:
            bodies.attach(entry, held)
        for entry, ready in wishes:
            ready(entry)

    def _tell(self, message: MessageId, what: Callable[[Entry], None]) -> None:
        for entry, _ in self._wanted.pop(message, {}).values():
            if self._alive(entry):
                what(entry)

    def _alive(self, entry: Entry) -> bool:
        """Whether the entry is still ours, and still without its message."""
        return self._memory.entries.get(entry.delivery.id) is entry and entry.held is None
