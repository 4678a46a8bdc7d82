"""The slow look at everything that waits: rows and bodies whose checksum fails, and rows that an index has lost.

What is due in four days is read in four days, and what an index has lost is never read: damage would be found when it is too late to fetch
anything from a backup, or not at all. So one worker of the machine walks over the deliveries by their numbers, a few in a second, and rests
between two walks. It costs some thousandth of a processor. Deliveries in a worker's memory are that worker's.

It does not look at history, at free pages, or for bodies without a row (`SpoolAdmin.remove_orphans`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from upesi.database.errors import DatabaseCorrupt
from upesi.database.sqlite import Database, Value
from upesi.mail.ids import MessageId
from upesi.spool import queries
from upesi.spool.bodies import BodyFolder
from upesi.spool.rows import DELIVERY_COLUMNS, UnknownFormat, delivery_from
from upesi.spool.store import SpoolDamaged
from upesi.spool.tally import Tally

__all__ = ["Sweep"]

# Deliveries looked at in one step, and octets of their messages after which a step ends early: a million that wait take 14 hours
_ROWS = 20
_OCTETS = 4 * 2**20
# Steps of rest between two walks: an hour at one in a second
_REST = 3600

_WAITING = f"SELECT {DELIVERY_COLUMNS} FROM delivery WHERE id > ? AND state IS NOT 2 ORDER BY id LIMIT ?"
_COLUMNS = len(DELIVERY_COLUMNS.split(","))
# whether both levels of the index would find it in time
_FOUND = (
    "SELECT EXISTS (SELECT 1 FROM delivery INDEXED BY delivery_waiting WHERE queue = d.queue AND due = d.due AND state < 2 AND id = d.id), "
    "EXISTS (SELECT 1 FROM queue WHERE key = d.queue AND next_due <= d.due) FROM delivery AS d WHERE d.id = ? AND d.state < 2"
)
# a delivery that is still there, and has no message
_ALONE = "SELECT 1 FROM delivery AS d WHERE id = ? AND NOT EXISTS (SELECT 1 FROM message WHERE row = d.mrow)"


class Sweep:
    """Walks over the spool, one `step` at a time, on the caller's thread and connection. `epoch` is the member whose sweep this is."""

    __slots__ = ("_after", "_bodies", "_epoch", "_notice", "_now", "_rest")

    def __init__(
        self, epoch: int, bodies: BodyFolder, now: Callable[[], float], notice: Callable[[str, str], None]
    ) -> None:
        self._epoch = epoch
        self._bodies = bodies
        self._now = now
        self._notice = notice
        self._after = 0
        self._rest = 0

    def step(self, database: Database) -> None:
        """Look at the next few; raise DatabaseError, and SpoolError where a body cannot be read now."""
        if self._rest:
            self._rest -= 1
            return
        try:
            self._walk(database)
        except DatabaseCorrupt as error:
            # a page that is none: there is no knowing what comes behind it, and saying so once an hour is enough
            self._notice("spool.damaged", f"behind delivery {self._after}: {error}")
            self._after, self._rest = 0, _REST

    def _walk(self, database: Database) -> None:
        if database.value("SELECT min(epoch) FROM member") != self._epoch:
            # the oldest worker does it for all
            self._after = 0
            return
        rows = database.rows(_WAITING, self._after, _ROWS)
        octets = 0
        for row in rows:
            # NULL where it rotted away, as any of them
            octets += row[8] if isinstance(row[8], int) else 0
            self._look(database, row)
            # only now: what could not be read for the moment is looked at again
            self._after = cast(int, row[0])
            if octets > _OCTETS:
                return
        if len(rows) < _ROWS:
            self._after, self._rest = 0, _REST

    def _look(self, database: Database, row: Sequence[Value]) -> None:
        number, id = cast(int, row[0]), MessageId(row[1] if isinstance(row[1], bytes) else bytes(16))

        def delivery(tally: Tally, reason: str) -> None:
            queries.quarantine_delivery(database, tally, number, reason, self._now())

        def message(tally: Tally, reason: str) -> None:
            queries.quarantine_message(database, tally, id, reason, self._now())

        harmed = delivery
        try:
            delivery_from(row)
            harmed = message
            if queries.load(database, self._bodies, id) is None and database.rows(_ALONE, number):
                harmed = delivery
                raise SpoolDamaged("its message is not there")
        except UnknownFormat:
            # its claim complains of it
            return
        except SpoolDamaged as error:
            self._set_aside(database, number, id, harmed, str(error))
            return
        self._mend(database, number, str(row[2]))

    def _set_aside(
        self, database: Database, number: int, id: MessageId, harmed: Callable[[Tally, str], None], reason: str
    ) -> None:
        self._notice("spool.damaged", f"delivery {number} of message {id.hex()}: {reason}")
        tally = Tally()
        with database.transaction():
            harmed(tally, reason)
            tally.write(database)

    def _mend(self, database: Database, number: int, queue: str) -> None:
        """Make what the index has lost findable again: nobody would ever try it."""
        if database.rows(_FOUND, number) in ([], [(1, 1)]):
            return
        with database.transaction():
            # again, now that nobody can change it
            found = database.rows(_FOUND, number)
            if found in ([], [(1, 1)]):
                return
            if not found[0][0]:
                database.run("REINDEX delivery_waiting")
            tally = Tally()
            tally.correct(queue)
            tally.write(database)
        self._notice("spool.index_mended", f"delivery {number} of {queue} would not have been found")
