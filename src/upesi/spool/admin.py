"""The administration of a machine's spool: locking, recovery, members, and what operators ask of the queue.

Synchronous: the supervisor runs it on a thread, the command line calls it while the server is down. Only rows that are not
ACTIVE are changed: those are in a worker's memory, and are counted in the answer instead. Changes of many rows are made in
steps, so that workers are never kept from the write lock for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from upesi.config.settings import SpoolSettings
from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Checkpoint, Database, Integers, Value
from upesi.database.wal import WalState
from upesi.mail.ids import MessageId, message_id_from
from upesi.mail.outcome import Outcome
from upesi.spool import members
from upesi.spool.bodies import BodyFolder
from upesi.spool.folder import FolderLock, SpoolFolder, database_failure
from upesi.spool.ledger import remove_ended
from upesi.spool.records import Delivery, DeliveryState, SpoolEvent
from upesi.spool.rows import DELIVERY_COLUMNS, UnknownFormat, delivery_from, event_from, event_row, recipients_of
from upesi.spool.schema import EVENT
from upesi.spool.selector import Selector, define_functions, where
from upesi.spool.store import SpoolDamaged
from upesi.spool.tally import Tally

__all__ = ["Cancelled", "Changed", "Listed", "QueueSummary", "Selector", "Shown", "SpoolAdmin", "Why"]

Result = TypeVar("Result")

# rows changed in one transaction: some 10 ms of the write lock
_STEP = 500
_MAX_TRACE = 10_000


class Changed(msgspec.Struct, frozen=True):
    """How many deliveries were changed, and how many of those selected were not because a worker holds them."""

    changed: int
    active: int


class Cancelled(msgspec.Struct, frozen=True):
    """One cancelled delivery; `sender` (empty: null reverse-path) may be owed a notice."""

    message: str
    sender: str
    recipients: tuple[str, ...]


class Listed(msgspec.Struct, frozen=True):
    """One line of a listing. `problem` says why a row cannot be read, where it cannot."""

    delivery: int
    message: str
    queue: str
    state: str
    sender: str
    recipients: tuple[str, ...]
    received: float
    due: float
    expires: float
    attempts: int
    size: int
    last: Outcome | None = None
    problem: str = ""


class Shown(msgspec.Struct, frozen=True):
    """A queued message: its deliveries and where it came from."""

    message: str
    sender: str
    received: float
    size: int
    deliveries: tuple[Listed, ...]


class Why(msgspec.Struct, frozen=True):
    """Why a delivery is where it is: its state since when, what came of the last attempt, and when the next is."""

    delivery: int
    queue: str
    state: str
    since: float
    recipients: tuple[str, ...]
    attempts: int
    last: Outcome | None
    next_try: float | None
    expires: float


class QueueSummary(msgspec.Struct, frozen=True):
    """Counts of one queue by state."""

    queue: str
    routing: int
    ready: int
    active: int
    held: int
    next_due: float | None


class SpoolAdmin:
    """The one instance's hold on a spool. Use from one thread at a time. All methods raise SpoolError; selectors also ValueError."""

    def __init__(self, folder: SpoolFolder, database: Database, bodies: BodyFolder, now: Callable[[], float]) -> None:
        self._folder = folder
        self._database = database
        self._bodies = bodies
        self._now = now
        define_functions(database)

    @classmethod
    def open_or_create(
        cls, settings: SpoolSettings, owner: str = "", now: Callable[[], float] = time.time
    ) -> SpoolAdmin:
        """Lock the spool and recover it: no worker lives, every ACTIVE delivery waits again, orphans are removed.

        `owner` is the user that workers become, who must be able to write. Raises SpoolLocked (with the pid) where another instance or one of
        its workers lives, SpoolError where the spool is damaged, unknown, gone or replaced.
        """
        path = Path(settings.path)
        folder = SpoolFolder(path, owner)
        excluded: FolderLock | None = None
        database: Database | None = None
        bodies = BodyFolder(path, int(settings.inline_limit))
        try:
            excluded = folder.exclude_members()
            database = folder.open(bodies, now())
            admin = cls(folder, database, bodies, now)
            admin.recover_all()
            folder.hand_over()
            return admin
        except DatabaseError as error:
            _abandon(folder, database)
            raise database_failure(error) from error
        except BaseException:
            _abandon(folder, database)
            raise
        finally:
            if excluded is not None:
                excluded.close()

    def close(self) -> None:
        """Let go of the spool."""
        self._database.close()
        self._folder.close()

    # members

    def recover_all(self) -> int:
        """Give back what dead workers held and remove orphans; only while no member lives. Return how many wait again."""
        database = self._database
        returned = members.recover(database)
        # with nobody else at it, the log has been recovered from its checksums and is copied from its beginning
        database.checkpoint(Checkpoint.TRUNCATE)
        WalState(self._folder.database).clear()
        self._bodies.create()
        self._bodies.clear_temporary()
        self.remove_orphans()
        return returned

    def remove_orphans(self) -> int:
        """Remove bodies that no message names; only while no member lives. Return how many."""
        removed = 0
        for id in self._bodies.all_stored():
            named = self._database.value(
                "SELECT 1 FROM delivery WHERE message = ?1 UNION ALL SELECT 1 FROM damaged_message WHERE id = ?1 LIMIT 1",
                id,
            )
            if named is None:
                self._bodies.remove(id)
                removed += 1
        return removed

    def register_member(self, pid: int = 0) -> int:
        """Add a worker; return its epoch, greater than any before."""
        return self._guarded(lambda: members.register(self._database, pid, self._now()))

    def expel(self, epoch: int) -> int:
        """Take everything from a dead worker, at once; return how many deliveries wait again."""
        return self._guarded(lambda: members.expel(self._database, epoch))

    def assign(self, shards: Mapping[int, int]) -> None:
        """Give each shard to the member of this epoch."""
        self._guarded(lambda: members.assign(self._database, shards))

    def check(self) -> list[str]:
        """Read every page of the database and return what is wrong with it; slow on a large one."""
        found = self._guarded(lambda: self._database.rows("PRAGMA quick_check(20)"))
        return [str(text) for (text,) in found if text != "ok"]

    # looking

    def count(self, selector: Selector) -> int:
        """Return how many deliveries are selected."""
        condition, values = where(selector, self._now())
        return self._guarded(lambda: self._database.number(f"SELECT count(*) FROM delivery WHERE {condition}", *values))

    def list(self, selector: Selector, limit: int = 1000, after: int = 0) -> list[Listed]:
        """Return up to `limit` selected deliveries with numbers greater than `after`."""
        condition, values = where(selector, self._now())
        sql = f"SELECT {DELIVERY_COLUMNS}, sender FROM delivery WHERE id > ? AND {condition} ORDER BY id LIMIT ?"
        return self._guarded(lambda: [_listed(row) for row in self._database.rows(sql, after, *values, limit)])

    def show(self, message: str) -> Shown | None:
        """Return what is queued of a message (hexadecimal id), None if nothing is."""
        listed = self.list(Selector(message=message))
        if not listed:
            return None
        first = listed[0]
        return Shown(first.message, first.sender, first.received, first.size, tuple(listed))

    def why(self, message: str) -> list[Why]:
        """Say of each delivery of a message why it waits."""
        listed = self.list(Selector(message=message))
        events = self.trace(message)
        return [_why(delivery, events) for delivery in listed]

    def trace(self, message: str) -> list[SpoolEvent]:
        """Return all that is remembered of a message, oldest first; also when it has gone."""
        id = message_id_from(message)
        rows = self._guarded(
            lambda: self._database.rows(
                "SELECT at, kind, message, fields FROM event WHERE message = ? ORDER BY position LIMIT ?",
                id,
                _MAX_TRACE,
            )
        )
        return [event_from(row) for row in rows]

    def events(self, after: int, limit: int = 1000) -> list[tuple[int, SpoolEvent]]:
        """Return events with positions greater than `after`, in order: the export of the history."""
        rows = self._guarded(
            lambda: self._database.rows(
                "SELECT position, at, kind, message, fields FROM event WHERE position > ? ORDER BY position LIMIT ?",
                after,
                limit,
            )
        )
        return [(cast(int, row[0]), event_from(row[1:])) for row in rows]

    def summary(self) -> list[QueueSummary]:
        """Return the counts of every queue that holds something, from the queue index alone."""
        rows = self._guarded(
            lambda: self._database.rows(
                "SELECT key, routing, ready, active, held, next_due FROM queue WHERE routing OR ready OR active OR held ORDER BY key"
            )
        )
        return [QueueSummary(*row) for row in rows]  # type: ignore[arg-type]

    # changing

    def hold(self, selector: Selector) -> Changed:
        """Let the selected wait until they are released."""
        return self._change(selector, "state < 2", "state = 3")

    def release(self, selector: Selector) -> Changed:
        """Let held deliveries be tried again as they become due."""
        return self._change(selector, "state = 3", "state = waits")

    def retry_now(self, selector: Selector) -> Changed:
        """Make waiting deliveries due now."""
        return self._change(selector, "state < 2", f"due = {self._now()!r}")

    def cancel(self, selector: Selector, limit: int = 10_000) -> tuple[Changed, list[Cancelled]]:
        """End up to `limit` of the selected deliveries without an attempt, each with an event; return whom it concerns."""
        cancelled: list[Cancelled] = []

        def step(tally: Tally, ids: Sequence[int]) -> list[MessageId]:
            return self._cancel(tally, ids, cancelled)

        changed = self._steps(selector, "state <> 2", step, limit)
        return changed, cancelled

    def _change(self, selector: Selector, which: str, change: str) -> Changed:
        def step(tally: Tally, ids: Sequence[int]) -> list[MessageId]:
            numbers = Integers(ids)
            look = "SELECT queue, state, due FROM delivery WHERE id IN carray(?)"
            for sign, act in ((-1, f"UPDATE delivery SET {change} WHERE id IN carray(?)"), (1, "")):
                for queue, state, due in self._database.rows(look, numbers):
                    tally.add(cast(str, queue), cast(int, state), cast(float, due), sign)
                if act:
                    self._database.run(act, numbers)
            return []

        return self._steps(selector, which, step, None)

    def _steps(
        self, selector: Selector, which: str, step: Callable[[Tally, Sequence[int]], list[MessageId]], limit: int | None
    ) -> Changed:
        condition, values = where(selector, self._now())
        changed = 0
        for ids in self._guarded_pages(condition, values, which):
            ids = ids if limit is None else ids[: limit - changed]
            if not ids:
                break
            changed += self._guarded(lambda ids=ids: self._step(ids, which, step))  # type: ignore[misc]
        active = self._guarded(
            lambda: self._database.number(f"SELECT count(*) FROM delivery WHERE state = 2 AND {condition}", *values)
        )
        return Changed(changed, active)

    def _guarded_pages(self, condition: str, values: Sequence[Value], which: str) -> Iterator[list[int]]:
        after = 0
        sql = f"SELECT id FROM delivery WHERE id > ? AND {which} AND {condition} ORDER BY id LIMIT {_STEP}"
        while True:
            last = after
            rows = self._guarded(lambda last=last: self._database.rows(sql, last, *values))  # type: ignore[misc]
            if not rows:
                return
            ids = [cast(int, row[0]) for row in rows]
            yield ids
            after = ids[-1]

    def _step(self, ids: Sequence[int], which: str, step: Callable[[Tally, Sequence[int]], list[MessageId]]) -> int:
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
            fields["recipients"] = " ".join(recipients)
            events.append(event_row(SpoolEvent(now, "delivery.cancelled", id, fields)))
        self._database.run("DELETE FROM delivery WHERE id IN carray(?)", numbers)
        self._database.insert(EVENT, events)
        filed = [cast(int, row[2]) for row in rows if row[6]]
        return remove_ended(self._database, [cast(int, row[2]) for row in rows], filed)

    def _guarded(self, function: Callable[[], Result]) -> Result:
        try:
            return function()
        except DatabaseError as error:
            raise database_failure(error) from error


def _abandon(folder: SpoolFolder, database: Database | None) -> None:
    if database is not None:
        database.close()
    folder.close()


def _listed(row: Sequence[Value]) -> Listed:
    *columns, sender = row
    problem = ""
    delivery: Delivery | None = None
    try:
        delivery = delivery_from(columns)
    except (SpoolDamaged, UnknownFormat) as error:
        problem = str(error)
    number, message, queue, state, due, expires, received, attempts, size, _, _ = columns
    return Listed(
        cast(int, number), cast(bytes, message).hex(), cast(str, queue), DeliveryState(cast(int, state)).name.lower(), cast(str, sender),
        tuple(str(recipient.address) for recipient in delivery.recipients) if delivery else (),
        cast(float, received), cast(float, due), cast(float, expires), cast(int, attempts), cast(int, size),
        delivery.last if delivery else None, problem,
    )  # fmt: skip


def _why(delivery: Listed, events: Sequence[SpoolEvent]) -> Why:
    since = max((event.at for event in events), default=delivery.received)
    waiting = delivery.state in ("routing", "ready")
    return Why(
        delivery.delivery, delivery.queue, delivery.state, since, delivery.recipients, delivery.attempts, delivery.last,
        delivery.due if waiting else None, delivery.expires,
    )  # fmt: skip
