"""What operators do to the queue: many rows, in steps, never those that a worker holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec

from upesi.database.sqlite import Database, Integers, Value
from upesi.mail.ids import MessageId
from upesi.spool.bodies import BodyFolder
from upesi.spool.ledger import remove_ended
from upesi.spool.listing import Cancelled, Changed
from upesi.spool.records import RETURNED, SpoolEvent
from upesi.spool.rows import event_row, recipients_of
from upesi.spool.schema import EVENT
from upesi.spool.selector import Selector, where
from upesi.spool.suspects import absolve
from upesi.spool.tally import Tally

__all__ = ["HOLD", "RELEASE", "Changes", "Update", "give_up", "retry"]

# rows changed in one transaction: some 10 ms of the write lock
_STEP = 500

# queues named in one answer; more are "all of them" to whoever acts on it
_MOST_QUEUES = 1000

_Step = Callable[[Tally, Sequence[int]], list[MessageId]]


class Update(msgspec.Struct, frozen=True):
    """A change in place: its event's kind, which deliveries it concerns (a condition), and what it does to them (an assignment).

    With `absolves`, what dead workers said against them is forgotten (`suspects`).
    """

    kind: str
    which: str
    change: str
    absolves: bool = False


HOLD = Update("delivery.held", "state < 2", "state = 3")
RELEASE = Update("delivery.released", "state = 3", "state = waits", absolves=True)


def retry(now: float) -> Update:
    """Return the change that makes waiting deliveries due at `now` (Unix time)."""
    return Update("delivery.retried", "state < 2", f"due = {now!r}")


def give_up(now: float) -> Update:
    """Return the change that makes deliveries fail, with a notice to their senders, as soon as a worker has them (from `now` on)."""
    return Update(
        "delivery.returned", "state <> 2", f"state = waits, due = {now!r}, expires = {RETURNED!r}", absolves=True
    )


class Changes:
    """Changes to selected deliveries. Methods raise DatabaseError, and ValueError for a selector that cannot be meant."""

    __slots__ = ("_bodies", "_database", "_now")

    def __init__(self, database: Database, bodies: BodyFolder, now: Callable[[], float]) -> None:
        self._database = database
        self._bodies = bodies
        self._now = now

    def update(self, selector: Selector, update: Update) -> Changed:
        """Apply `update` to the selected that it concerns, each with an event; the answer names their queues."""
        queues: set[str] = set()

        def step(tally: Tally, ids: Sequence[int]) -> list[MessageId]:
            self._record(update.kind, ids, queues)
            self._count(tally, ids, -1)
            self._database.run(f"UPDATE delivery SET {update.change} WHERE id IN carray(?)", Integers(ids))
            self._count(tally, ids, 1)
            if update.absolves:
                absolve(self._database, ids)
            return []

        changed = self._steps(selector, update.which, step, None)
        if len(queues) > _MOST_QUEUES:
            return changed
        return Changed(changed.changed, changed.active, tuple(sorted(queues)))

    def _record(self, kind: str, ids: Sequence[int], queues: set[str]) -> None:
        """Write the events of a step, and add its queues to `queues`, one more than are named at most."""
        now = self._now()
        events = []
        for number, message, queue, data in self._database.rows(
            "SELECT id, message, queue, data FROM delivery WHERE id IN carray(?)", Integers(ids)
        ):
            if len(queues) <= _MOST_QUEUES:
                queues.add(cast(str, queue))
            fields = _fields(cast(int, number), cast(str, queue), _addresses(data))
            events.append(event_row(SpoolEvent(now, kind, MessageId(cast(bytes, message)), fields)))
        self._database.insert(EVENT, events)

    def _count(self, tally: Tally, ids: Sequence[int], sign: int) -> None:
        for queue, state, due in self._database.rows(
            "SELECT queue, state, due FROM delivery WHERE id IN carray(?)", Integers(ids)
        ):
            tally.add(cast(str, queue), cast(int, state), cast(float, due), sign)

    def cancel(self, selector: Selector, limit: int) -> tuple[Changed, list[Cancelled]]:
        """End up to `limit` of the selected, each with an event; return whom it concerns."""
        cancelled: list[Cancelled] = []
        changed = self._steps(selector, "state <> 2", lambda tally, ids: self._cancel(tally, ids, cancelled), limit)
        return changed, cancelled

    def _steps(self, selector: Selector, which: str, step: _Step, limit: int | None) -> Changed:
        condition, values = where(selector, self._now())
        changed = 0
        for page in self._pages(condition, values, which):
            ids = page if limit is None else page[: limit - changed]
            if not ids:
                break
            changed += self._step(ids, which, step)
        active = self._database.number(f"SELECT count(*) FROM delivery WHERE state = 2 AND {condition}", *values)
        return Changed(changed, active)

    def _pages(self, condition: str, values: Sequence[Value], which: str) -> Iterator[list[int]]:
        after = 0
        sql = f"SELECT id FROM delivery WHERE id > ? AND {which} AND {condition} ORDER BY id LIMIT {_STEP}"
        while rows := self._database.rows(sql, after, *values):
            ids = [cast(int, row[0]) for row in rows]
            yield ids
            after = ids[-1]

    def _step(self, ids: Sequence[int], which: str, step: _Step) -> int:
        tally = Tally()
        with self._database.transaction():
            # a worker may have claimed some since they were selected
            found = self._database.rows(f"SELECT id FROM delivery WHERE id IN carray(?) AND {which}", Integers(ids))
            still = [cast(int, row[0]) for row in found]
            gone = step(tally, still)
            tally.write(self._database)
        for id in gone:
            self._bodies.remove(id)
        return len(still)

    def _cancel(self, tally: Tally, ids: Sequence[int], cancelled: list[Cancelled]) -> list[MessageId]:
        numbers = Integers(ids)
        now = self._now()
        rows = self._database.rows(
            "SELECT id, message, mrow, queue, state, due, file, sender, data, expires FROM delivery WHERE id IN carray(?)",
            numbers,
        )
        events = []
        for number, message, _, queue, state, due, _, sender, data, expires in rows:
            id = MessageId(cast(bytes, message))
            recipients = _addresses(data)
            cancelled.append(Cancelled(id.hex(), cast(str, sender), recipients, expires == RETURNED))
            tally.add(cast(str, queue), cast(int, state), cast(float, due), -1)
            fields = _fields(cast(int, number), cast(str, queue), recipients)
            events.append(event_row(SpoolEvent(now, "delivery.cancelled", id, fields)))
        self._database.run("DELETE FROM delivery WHERE id IN carray(?)", numbers)
        self._database.insert(EVENT, events)
        filed = [cast(int, row[2]) for row in rows if row[6]]
        return remove_ended(self._database, [cast(int, row[2]) for row in rows], filed)


def _addresses(data: Value) -> tuple[str, ...]:
    return tuple(str(recipient.address) for recipient in recipients_of(cast(bytes, data)))


def _fields(number: int, queue: str, recipients: Sequence[str]) -> dict[str, str | int | float]:
    return {"delivery": number, "queue": queue, "recipients": len(recipients), "to": " ".join(recipients)}
