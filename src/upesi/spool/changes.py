"""What operators do to the queue: many rows, in steps, never those that a worker holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from upesi.database.sqlite import Database, Integers, Value
from upesi.mail.ids import MessageId
from upesi.spool.bodies import BodyFolder
from upesi.spool.ledger import remove_ended
from upesi.spool.listing import Cancelled, Changed
from upesi.spool.records import SpoolEvent
from upesi.spool.rows import event_row, recipients_of
from upesi.spool.schema import EVENT
from upesi.spool.selector import Selector, where
from upesi.spool.tally import Tally

__all__ = ["Changes"]

# rows changed in one transaction: some 10 ms of the write lock
_STEP = 500

_Step = Callable[[Tally, Sequence[int]], list[MessageId]]


class Changes:
    """Changes to selected deliveries. Methods raise DatabaseError, and ValueError for a selector that cannot be meant."""

    __slots__ = ("_bodies", "_database", "_now")

    def __init__(self, database: Database, bodies: BodyFolder, now: Callable[[], float]) -> None:
        self._database = database
        self._bodies = bodies
        self._now = now

    def update(self, selector: Selector, which: str, change: str) -> Changed:
        """Apply `change` (an assignment) to the selected that are also `which` (a condition)."""

        def step(tally: Tally, ids: Sequence[int]) -> list[MessageId]:
            self._count(tally, ids, -1)
            self._database.run(f"UPDATE delivery SET {change} WHERE id IN carray(?)", Integers(ids))
            self._count(tally, ids, 1)
            return []

        return self._steps(selector, which, step, None)

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
            "SELECT id, message, mrow, queue, state, due, file, sender, data FROM delivery WHERE id IN carray(?)",
            numbers,
        )
        events = []
        for number, message, _, queue, state, due, _, sender, data in rows:
            id = MessageId(cast(bytes, message))
            recipients = tuple(str(recipient.address) for recipient in recipients_of(cast(bytes, data)))
            cancelled.append(Cancelled(id.hex(), cast(str, sender), recipients))
            tally.add(cast(str, queue), cast(int, state), cast(float, due), -1)
            fields: dict[str, str | int | float] = {"delivery": cast(int, number), "queue": cast(str, queue)}
            fields["recipients"] = len(recipients)
            fields["to"] = " ".join(recipients)
            events.append(event_row(SpoolEvent(now, "delivery.cancelled", id, fields)))
        self._database.run("DELETE FROM delivery WHERE id IN carray(?)", numbers)
        self._database.insert(EVENT, events)
        filed = [cast(int, row[2]) for row in rows if row[6]]
        return remove_ended(self._database, [cast(int, row[2]) for row in rows], filed)
