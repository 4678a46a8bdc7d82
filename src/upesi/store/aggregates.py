"""What DMARC's aggregate reports will say (RFC 9990): rows with counts by policy domain and day, in a SQLite file beside the spool.

Every worker adds to it; whoever sends claims one domain's day after the other, each for a while, so that two never send the same and one
that died is followed. What is noted goes to a thread at once and is written in one transaction with all that was noted meanwhile, without
a sync: a worker that is killed loses some milliseconds of statistics, a power cut some seconds, and no message waits for any of it.

A stranger chooses what is noted, so all of it is bounded: rows of a domain, domains of a day, days. Beyond a bound it is counted only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Checkpoint, Database, Sync
from upesi.mail.errors import UpesiError
from upesi.mailauth.observation import Observation, Published

__all__ = ["DAY", "MAX_DOMAINS", "MAX_PENDING", "MAX_ROWS", "AggregateDay", "Aggregates", "AggregatesUnavailable"]

T = TypeVar("T")

DAY = 86_400
# Rows of one domain and day: 150 kB of XML, 10 kB zipped. A large sender's mail comes from some dozens of machines
MAX_ROWS = 1000
# domains of one day, each a report
MAX_DOMAINS = 5000
# distinct rows that wait for the thread in one worker
MAX_PENDING = 10_000
# days after which what could not be sent is forgotten
KEEP_DAYS = 3
# seconds behind midnight (UTC) from which on a day is over for every worker
_SETTLED = 900
# transactions between two checkpoints
_CHECKPOINT = 500

_TABLES = """
CREATE TABLE IF NOT EXISTS policy(
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    published BLOB NOT NULL,
    due REAL NOT NULL,         -- when it may be claimed (again)
    tries INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    lost INTEGER NOT NULL,     -- messages beyond the bound of rows
    PRIMARY KEY(day, domain)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS policy_due ON policy(due) WHERE sent = 0;
CREATE TABLE IF NOT EXISTS seen(
    day INTEGER NOT NULL,
    domain TEXT NOT NULL,
    digest BLOB NOT NULL,
    observation BLOB NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY(day, domain, digest)
) WITHOUT ROWID"""


class AggregatesUnavailable(UpesiError):
    """The file cannot be used now."""


class AggregateDay(msgspec.Struct, frozen=True):
    """One report to be sent. `day` counts from 1970; `tries` how often it was claimed; `lost` messages that no row says anything of."""

    day: int
    domain: str
    published: Published
    rows: tuple[tuple[Observation, int], ...]
    tries: int
    lost: int

    @property
    def begins(self) -> int:
        """The first second of the day."""
        return self.day * DAY

    @property
    def ends(self) -> int:
        """The last second of the day."""
        return self.begins + DAY - 1


class Aggregates:
    """The service `reports`, and the side of it that sends."""

    __slots__ = ("_database", "_delay", "_noting", "_now", "_path", "_pending", "_thread", "_writes", "dropped")

    def __init__(
        self, path: Path, now: Callable[[], float], delay: Callable[[str], float] = lambda domain: 0.0
    ) -> None:
        """Nothing is opened yet. `now` is the wall clock; `delay` says how long a domain's report waits behind the end of its day."""
        self._path = path
        self._now = now
        self._delay = delay
        self._thread = ThreadPoolExecutor(1, "aggregates")
        self._database: Database | None = None
        self._pending: Counter[tuple[int, Published, bytes]] = Counter()
        self._noting: asyncio.Future[None] | None = None
        self._writes = 0
        # messages of which nothing is kept: too many waited, or the disk would not have them
        self.dropped = 0

    # -- on the loop

    def note(self, published: Published, observation: Observation) -> None:
        """Count one message. Returns at once and raises nothing: mail goes on whatever becomes of statistics."""
        key = (int(self._now()) // DAY, published, msgspec.json.encode(observation))
        if key not in self._pending and len(self._pending) >= MAX_PENDING:
            self.dropped += 1
            return
        self._pending[key] += 1
        if self._noting is None:
            self._begin()

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        pending, self._pending = self._pending, Counter()
        try:
            self._noting = asyncio.ensure_future(
                loop.run_in_executor(self._thread, self._work, lambda db: self._add(db, pending))
            )
        except RuntimeError:
            # no thread, or closed: shutdown is under way
            self.dropped += pending.total()
            return
        self._noting.add_done_callback(lambda future: self._noted(future, pending.total()))

    def _noted(self, future: asyncio.Future[None], messages: int) -> None:
        self._noting = None
        if not future.cancelled() and future.exception() is not None:
            self.dropped += messages
        if self._pending:
            self._begin()

    async def settle(self) -> None:
        """Wait until all that was noted is written."""
        while self._noting is not None:
            await asyncio.wait([self._noting])
            # its callback may have begun the next
            await asyncio.sleep(0)

    async def claim(self, lease: float) -> AggregateDay | None:
        """Return a day whose report is due, ours for `lease` seconds; None where there is none. Raises AggregatesUnavailable."""
        return await self._run(lambda database: self._claim(database, lease))

    async def sent(self, day: AggregateDay) -> None:
        """Forget the rows of a report that is on its way; raise AggregatesUnavailable."""
        await self._run(lambda database: self._sent(database, day))

    async def later(self, day: AggregateDay, seconds: float) -> None:
        """Give a report back, to be claimed again after `seconds`; raise AggregatesUnavailable."""
        due = self._now() + seconds
        await self._run(
            lambda db: db.run(
                "UPDATE policy SET due = ? WHERE day = ? AND domain = ? AND sent = 0", due, day.day, day.domain
            )
        )

    async def close(self) -> None:
        """Write what was noted, and let go."""
        await self.settle()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[Database], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)
        except RuntimeError as error:
            raise AggregatesUnavailable(f"the reports cannot be asked: {error}") from error

    # -- on the thread

    def _add(self, database: Database, pending: Counter[tuple[int, Published, bytes]]) -> None:
        with database.transaction():
            for (day, published, octets), count in pending.items():
                self._count(database, day, published, octets, count)
        self._writes += 1
        if self._writes % _CHECKPOINT == 0:
            database.checkpoint(Checkpoint.PASSIVE)

    def _count(self, database: Database, day: int, published: Published, octets: bytes, count: int) -> None:
        where = (day, published.domain)
        if not database.number("SELECT count(*) FROM policy WHERE day = ? AND domain = ?", *where):
            self._tidy(database, day)
            if database.number("SELECT count(*) FROM policy WHERE day = ?", day) >= MAX_DOMAINS:
                self.dropped += count
                return
            due = (day + 1) * DAY + _SETTLED + self._delay(published.domain)
            database.run("INSERT INTO policy VALUES (?, ?, ?, ?, 0, 0, 0)", *where, msgspec.json.encode(published), due)
        else:
            # the owner may change its mind during the day: the last word is reported
            database.run(
                "UPDATE policy SET published = ? WHERE day = ? AND domain = ?", msgspec.json.encode(published), *where
            )
        digest = hashlib.sha256(octets).digest()[:16]
        database.run(
            "UPDATE seen SET count = count + ? WHERE day = ? AND domain = ? AND digest = ?", count, *where, digest
        )
        if database.changes():
            return
        if database.number("SELECT count(*) FROM seen WHERE day = ? AND domain = ?", *where) >= MAX_ROWS:
            database.run("UPDATE policy SET lost = lost + ? WHERE day = ? AND domain = ?", count, *where)
            return
        database.run("INSERT INTO seen VALUES (?, ?, ?, ?, ?)", *where, digest, octets, count)

    def _claim(self, database: Database, lease: float) -> AggregateDay | None:
        now = self._now()
        with database.transaction():
            self._tidy(database, int(now) // DAY)
            found = database.rows(
                "UPDATE policy SET due = ?, tries = tries + 1 WHERE (day, domain) = "
                "(SELECT day, domain FROM policy WHERE sent = 0 AND due <= ? ORDER BY due LIMIT 1) "
                "RETURNING day, domain, published, tries, lost",
                now + lease,
                now,
            )
            if not found:
                return None
            day, domain, published, tries, lost = msgspec.convert(found[0], tuple[int, str, bytes, int, int])
            rows = database.rows(
                "SELECT observation, count FROM seen WHERE day = ? AND domain = ? ORDER BY count DESC, digest",
                day,
                domain,
            )
        return AggregateDay(
            day, domain, msgspec.json.decode(published, type=Published), tuple(map(_row, rows)), tries, lost
        )

    def _sent(self, database: Database, day: AggregateDay) -> None:
        with database.transaction():
            database.run("UPDATE policy SET sent = 1 WHERE day = ? AND domain = ?", day.day, day.domain)
            database.run("DELETE FROM seen WHERE day = ? AND domain = ?", day.day, day.domain)

    def _tidy(self, database: Database, today: int) -> None:
        database.run("DELETE FROM policy WHERE day < ?", today - KEEP_DAYS)
        database.run("DELETE FROM seen WHERE day < ?", today - KEEP_DAYS)

    def _work(self, work: Callable[[Database], T]) -> T:
        try:
            if self._database is None:
                database = Database.open(self._path, create=True, sync=Sync.CALLER, busy=5.0)
                database.script(_TABLES)
                self._database = database
            return work(self._database)
        except DatabaseError as error:
            # what its caches hold is not to be believed after some of these; opening again is cheap
            self._close()
            raise AggregatesUnavailable(f"the reports cannot be used: {error}") from error

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def _row(values: tuple[object, ...]) -> tuple[Observation, int]:
    octets, count = msgspec.convert(values, tuple[bytes, int])
    return msgspec.json.decode(octets, type=Observation), count
