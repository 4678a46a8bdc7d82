"""The administration of a machine's spool: locking, recovery, members, and what operators ask of the queue.

Synchronous: the supervisor runs it on a thread, the command line calls it while the server is down. Only rows that are not
ACTIVE are changed: those are in a worker's memory, and are counted in the answer instead. Changes of many rows are made in
steps, so that workers are never kept from the write lock for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from upesi.config.settings import SpoolSettings
from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Checkpoint, Database
from upesi.database.wal import WalState
from upesi.spool import listing, members
from upesi.spool.bodies import BodyFolder
from upesi.spool.body_file import error_from
from upesi.spool.changes import HOLD, RELEASE, Changes, give_up, retry
from upesi.spool.folder import FolderLock, SpoolFolder, database_failure
from upesi.spool.listing import Cancelled, Changed, Listed, QueueSummary, QueueTotals, Shown, Why
from upesi.spool.members import Expelled
from upesi.spool.quarantine import Quarantine
from upesi.spool.records import SpoolEvent
from upesi.spool.selector import Selector, define_functions, where

__all__ = ["Cancelled", "Changed", "Expelled", "Listed", "QueueSummary", "Selector", "Shown", "SpoolAdmin", "Why"]

Result = TypeVar("Result")


class SpoolAdmin:
    """The one instance's hold on a spool. Use from one thread at a time. All methods raise SpoolError; selectors also ValueError."""

    def __init__(self, folder: SpoolFolder, database: Database, bodies: BodyFolder, now: Callable[[], float]) -> None:
        self._folder = folder
        self._database = database
        self._bodies = bodies
        self._now = now
        self._changes = Changes(database, bodies, now)
        self.quarantine = Quarantine(database, bodies, now)
        define_functions(database)

    @classmethod
    def open_or_create(
        cls, settings: SpoolSettings, owner: str = "", now: Callable[[], float] = time.time
    ) -> SpoolAdmin:
        """Lock the spool and recover it: no worker lives, every ACTIVE delivery waits again, orphans are removed.

        `owner` is the user that workers become, who must be able to write. Raises SpoolLocked (with the pid) where another instance
        or one of its workers lives, SpoolError where the spool is damaged, unknown, gone or replaced.
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
        except OSError as error:
            _abandon(folder, database)
            raise error_from(error, "the spool cannot be used") from error
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

    def expel(self, epoch: int, weight: int = 0) -> Expelled:
        """Take everything from a dead worker, at once; what was in the hands of too many that died is held.

        `weight` is one of `spool.suspects`, 0 where what it held has nothing to do with its end.
        """
        return self._guarded(lambda: members.expel(self._database, epoch, weight, self._now()))

    def clear_temporary_of(self, pid: int) -> int:
        """Remove the half-received bodies of a worker that has ended; return how many. Raises nothing."""
        return self._bodies.clear_temporary_of(pid)

    def assign(self, shards: Mapping[int, int]) -> None:
        """Give each shard to the member of this epoch."""
        self._guarded(lambda: members.assign(self._database, shards))

    def check(self) -> Sequence[str]:
        """Read every page of the database and return what is wrong with it; slow on a large one."""
        found = self._guarded(lambda: self._database.rows("PRAGMA quick_check(20)"))
        return [str(text) for (text,) in found if text != "ok"]

    # looking

    def count(self, selector: Selector) -> int:
        """Return how many deliveries are selected."""
        condition, values = where(selector, self._now())
        return self._guarded(lambda: self._database.number(f"SELECT count(*) FROM delivery WHERE {condition}", *values))

    def list(self, selector: Selector, limit: int = 1000, after: int = 0) -> Sequence[Listed]:
        """Return up to `limit` selected deliveries with numbers greater than `after`."""
        return self._guarded(lambda: listing.listed(self._database, selector, limit, after, self._now()))

    def show(self, message: str) -> Shown | None:
        """Return what is queued of a message (hexadecimal id), None if nothing is."""
        found = self.list(Selector(message=message))
        if not found:
            return None
        first = found[0]
        return Shown(first.message, first.sender, first.received, first.size, tuple(found))

    def why(self, message: str) -> Sequence[Why]:
        """Say of each delivery of a message why it waits."""
        return self._guarded(lambda: listing.reasons(self._database, message, 1000, self._now()))

    def trace(self, message: str) -> Sequence[SpoolEvent]:
        """Return all that is remembered of a message, oldest first; also when it has gone."""
        return self._guarded(lambda: listing.trace(self._database, message))

    def events(self, after: int, limit: int = 1000) -> Sequence[tuple[int, SpoolEvent]]:
        """Return events with positions greater than `after`, in order: the export of the history."""
        return self._guarded(lambda: listing.events_after(self._database, after, limit))

    def summary(self) -> Sequence[QueueSummary]:
        """Return the counts of every queue that holds something, from the queue index alone."""
        return self._guarded(lambda: listing.summary(self._database))

    def totals(self) -> QueueTotals:
        """Return the counts of everything, cheap enough for each scrape of the metrics."""
        return self._guarded(lambda: listing.totals(self._database))

    # changing

    def hold(self, selector: Selector) -> Changed:
        """Let the selected wait until they are released."""
        return self._guarded(lambda: self._changes.update(selector, HOLD))

    def release(self, selector: Selector) -> Changed:
        """Let held deliveries be tried again as they become due."""
        return self._guarded(lambda: self._changes.update(selector, RELEASE))

    def retry_now(self, selector: Selector) -> Changed:
        """Make waiting deliveries due now. The pauses of their queues' sites are the scheduler's to end."""
        return self._guarded(lambda: self._changes.update(selector, retry(self._now())))

    def cancel(self, selector: Selector, limit: int = 10_000) -> tuple[Changed, Sequence[Cancelled]]:
        """End up to `limit` of the selected deliveries without an attempt, each with an event; return whom it concerns."""
        return self._guarded(lambda: self._changes.cancel(selector, limit))

    def give_back(self, selector: Selector) -> Changed:
        """Have the selected fail without another attempt, and their senders told: by the worker that gets them, soon."""
        return self._guarded(lambda: self._changes.update(selector, give_up(self._now())))

    def _guarded(self, function: Callable[[], Result]) -> Result:
        try:
            return function()
        except DatabaseError as error:
            raise database_failure(error) from error


def _abandon(folder: SpoolFolder, database: Database | None) -> None:
    if database is not None:
        database.close()
    folder.close()
