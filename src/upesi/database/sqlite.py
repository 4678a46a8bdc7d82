"""One connection to SQLite: pragmas, errors, and multi-row statements. The only module besides `wal` that knows apsw.

Several processes share one database in WAL mode. A connection belongs to one thread. Statements are written so that one
step does the work of a whole batch: apsw lets go of the interpreter lock around every step, and getting it back from a
busy event loop costs up to the switch interval (5 ms), so fifty single-row statements could wait a quarter of a second
inside the write lock.

Does not retry, and knows no table.
"""

from __future__ import annotations

import contextlib
import enum
import errno
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import apsw

from upesi.database.errors import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseGone,
    DatabaseIoError,
)

__all__ = ["PAGE_SIZE", "Checkpoint", "Database", "Integers", "Sync", "Value", "failed"]

Value = str | bytes | int | float | None

# Measured once each with 4 kB messages, own fdatasync, 50 pairs of insert and delete a transaction: 4096 26,600 pairs/s, 8192 18,800,
# 16384 16,400, 32768 15,500; with 20 pairs 16,000, 17,800, 15,400, 9,500: small batches would have 8192 by a little.
# A body's overflow page is freed by the delete, and freed pages are not written to the log again.
PAGE_SIZE = 4096

# Rows of one INSERT; what is missing to the next of these sizes is filled up with NULLs, which the statement leaves out. So a few
# statements serve every batch: apsw's cache forgets what was not among the last so many uses, and with a statement for each number of rows,
# one in eleven had to be compiled anew, 100 us each. 64 rows of 16 columns are far from every limit of SQLite.
ROWS_PER_STATEMENT = 64
_SIZES = (1, 2, 4, 8, 16, 32, ROWS_PER_STATEMENT)
_STATEMENT_CACHE = 256
_CACHE_KIB = 16_000


class Sync(enum.Enum):
    """When a commit is durable."""

    # SQLite syncs the log inside the commit, holding the write lock
    COMMIT = "FULL"
    # the caller syncs the log itself after the commit (`wal.WalSync`, docs/adr/0001-wal-sync.md)
    CALLER = "NORMAL"


class Checkpoint(enum.Enum):
    """How much a checkpoint may disturb."""

    LOOK = apsw.SQLITE_CHECKPOINT_NOOP
    PASSIVE = apsw.SQLITE_CHECKPOINT_PASSIVE
    RESTART = apsw.SQLITE_CHECKPOINT_RESTART
    TRUNCATE = apsw.SQLITE_CHECKPOINT_TRUNCATE


class Integers:
    """A list of numbers of rows (never negative) as one bound value: `id IN carray(?)`."""

    __slots__ = ("items",)

    def __init__(self, items: Sequence[int]) -> None:
        # carray refuses an empty array; no row has the number -1
        self.items = array("q", items or (-1,))


def _mapped(error: apsw.Error) -> DatabaseError:
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, apsw.FullError):
        return DatabaseFull(text)
    if isinstance(error, apsw.IOError):
        # the file system says "full" for some writes through an I/O error (ftruncate, mmap of the index)
        full = getattr(error, "oserror", 0) in (errno.ENOSPC, errno.EDQUOT)
        return DatabaseIoError(text) if not full else DatabaseFull(text)
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return DatabaseBusy(text)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError | apsw.FormatError):
        return DatabaseCorrupt(text)
    if isinstance(error, apsw.CantOpenError | apsw.ReadOnlyError | apsw.PermissionsError):
        return DatabaseGone(text)
    return DatabaseError(text)


# apsw binds values one by one: one that has no SQLite type, or an integer beyond 64 bits, is the fault of its row
_FAILURES = (apsw.Error, OverflowError, TypeError, ValueError)


def failed(error: Exception) -> DatabaseError:
    """Return what a driver's exception is in our words."""
    return _mapped(error) if isinstance(error, apsw.Error) else DatabaseError(f"{type(error).__name__}: {error}")


class Database:
    """A connection. All methods raise `DatabaseError` and what derives from it."""

    __slots__ = ("_connection", "_inserts", "path")

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._inserts: dict[tuple[str, int], str] = {}
        self.path = path

    @classmethod
    def open(cls, path: Path, *, create: bool = False, sync: Sync = Sync.COMMIT, busy: float = 10.0) -> Database:
        """Open the database at `path`; `busy` seconds is how long a lock of another process is waited for.

        Without `create`, a file that is not there is an error, never a new empty database.
        """
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        try:
            connection = apsw.Connection(str(path), flags=flags, statementcachesize=_STATEMENT_CACHE)
            try:
                cls._prepare(connection, sync, busy)
            except BaseException:
                connection.close(True)
                raise
        except _FAILURES as error:
            raise failed(error) from error
        return cls(connection, path)

    @staticmethod
    def _prepare(connection: apsw.Connection, sync: Sync, busy: float) -> None:
        connection.set_busy_timeout(int(busy * 1000))
        # wait for locks in the file system rather than by sleeping ever longer, which starves whoever came second (seen: 255 ms)
        connection.setlk_timeout(int(busy * 1000), 0)
        if connection.readonly("main"):
            raise apsw.ReadOnlyError("the database can only be read")
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}").fetchall()
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchall()
        if mode != [("wal",)]:
            raise apsw.CantOpenError(f"the journal mode is {mode}, not wal")
        # the log file must stay the same file for as long as anybody syncs it through a descriptor of their own
        persist = array("i", [1])
        connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, persist.buffer_info()[0])
        # checkpoints are the keeper's: a writer that ran into one would hold up its whole batch
        connection.wal_autocheckpoint(0)
        for pragma in (f"synchronous={sync.value}", f"cache_size=-{_CACHE_KIB}", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}").fetchall()

    def close(self) -> None:
        """Let go, whatever state it is in; raises nothing."""
        self._inserts.clear()
        try:
            self._connection.close(True)
        except apsw.Error:
            # a connection that is thrown away after an I/O error may fail once more here; there is nothing left to lose
            pass

    def run(self, sql: str, *values: Value | Integers) -> None:
        """Run one statement that gives no rows."""
        self.rows(sql, *values)

    def rows(self, sql: str, *values: Value | Integers) -> list[tuple[Value, ...]]:
        """Run one statement and return its rows."""
        try:
            return self._connection.execute(sql, _bound(values)).fetchall()
        except _FAILURES as error:
            raise failed(error) from error

    def value(self, sql: str, *values: Value | Integers) -> Value:
        """Return the first column of the first row, None where there is none."""
        found = self.rows(sql, *values)
        return found[0][0] if found else None

    def number(self, sql: str, *values: Value | Integers) -> int:
        """Return the first column of the first row as an integer, 0 where there is none or it is NULL."""
        found = self.value(sql, *values)
        return int(found) if isinstance(found, int | float) else 0

    def script(self, sql: str) -> None:
        """Run several statements."""
        try:
            for _ in self._connection.execute(sql):
                pass
        except _FAILURES as error:
            raise failed(error) from error

    def insert(self, into: str, rows: Sequence[Sequence[Value]], then: str = "") -> None:
        """Insert `rows` with as few statements as possible; `into` is "table(columns)", the first of them NOT NULL, `then` what follows."""
        for start in range(0, len(rows), ROWS_PER_STATEMENT):
            part = rows[start : start + ROWS_PER_STATEMENT]
            count, width = len(part), len(part[0])
            size = _SIZES[(count - 1).bit_length()]
            sql = self._inserts.get((into, size))
            if sql is None:
                sql = self._inserts[into, size] = _insert(into, size, width, then)
            values: list[Value] = list(chain.from_iterable(part))
            if count < size:
                values += [None] * (width * (size - count))
            try:
                self._connection.execute(sql, values)
            except _FAILURES as error:
                raise failed(error) from error

    def changes(self) -> int:
        """Return how many rows the last statement changed."""
        return self._connection.changes()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Take the write lock, run the block, commit; undo everything if it raises."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Roll back what is open, if anything; raises nothing (SQLite rolls back by itself after some errors)."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            pass

    def checkpoint(self, how: Checkpoint) -> tuple[int, int]:
        """Run a checkpoint; return (frames in the log, frames copied). Raise DatabaseBusy where another is at it."""
        try:
            return self._connection.wal_checkpoint(mode=how.value)
        except _FAILURES as error:
            raise failed(error) from error

    def define(self, name: str, arguments: int, function: object) -> None:
        """Make `function` callable from SQL as `name`; used by the command line's selectors, never on a hot path."""
        if not callable(function):
            raise TypeError("not callable")
        self._connection.create_scalar_function(name, function, arguments, deterministic=True)

    def __del__(self) -> None:
        # only what was forgotten after an error; apsw closes quietly as well
        self.close()


def _insert(into: str, size: int, width: int, then: str) -> str:
    """Return the statement that inserts up to `size` rows of `width` columns."""
    marks = f"({','.join('?' * width)})"
    return f"INSERT INTO {into} SELECT * FROM (VALUES {','.join([marks] * size)}) WHERE column1 IS NOT NULL {then}"


def _bound(values: Sequence[Value | Integers]) -> list[object]:
    return [apsw.carray(value.items) if type(value) is Integers else value for value in values]
