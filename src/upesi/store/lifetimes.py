"""`keys.Keys` in a SQLite file beside the spool, shared by all workers.

One thread of each worker does the work, in order. Commits are not synced: after a power cut the keys of the last moments may be missing or
back, which their users must be able to bear, and which is why they cost a millionth of a message. Nothing here is on the path of every
message; what is, uses `counters`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Checkpoint, Database, Sync
from upesi.store.keys import KeysUnavailable

__all__ = ["SqliteKeys"]

T = TypeVar("T")

# Keys of all users together: 100 MB at the size of a greylisting tuple. Past it those that end first are given up
MAX_KEYS = 1_000_000
# octets of a key and of a value: keys are made of what clients say, and values are small state, not data
MAX_KEY = 1024
MAX_VALUE = 65_536
# requests under way in one worker; beyond them the caller decides without keys rather than wait in a line that grows
MAX_WAITING = 1000
# writes between two looks at what has ended
_TIDY = 1000

_TABLE = """
CREATE TABLE IF NOT EXISTS key(name TEXT PRIMARY KEY, value BLOB NOT NULL, ends REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS key_ends ON key(ends)"""
_PUT = "INSERT INTO key VALUES (?, ?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value, ends = excluded.ends"
# of two workers at once one inserts, or replaces what has ended, and the other changes nothing
_ADD = f"{_PUT} WHERE key.ends <= ?"


class SqliteKeys:
    """Implements `keys.Keys`."""

    __slots__ = ("_database", "_now", "_path", "_thread", "_waiting", "_writes")

    def __init__(self, path: Path, now: Callable[[], float]) -> None:
        """Nothing is opened yet; `now` is the wall clock."""
        self._path = path
        self._now = now
        self._thread = ThreadPoolExecutor(1, "keys")
        self._database: Database | None = None
        self._waiting = 0
        self._writes = 0

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`, None where there is none."""
        return await self._run(lambda database: _octets(database.value(_GET, _checked(key), self._now())))

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        """Set `key`, whatever it was."""
        await self._run(lambda database: self._put(database, _PUT, key, value, lifetime))

    async def add(self, key: str, value: bytes, lifetime: float) -> bool:
        """Set `key` unless it is there; say whether it was set."""
        return await self._run(lambda database: self._put(database, _ADD, key, value, lifetime, self._now()))

    async def remove(self, key: str) -> None:
        """Forget `key`."""
        await self._run(lambda database: database.run("DELETE FROM key WHERE name = ?", _checked(key)))

    async def close(self) -> None:
        """Finish what was asked for, and let go."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    # -- on the thread

    def _put(self, database: Database, sql: str, key: str, value: bytes, lifetime: float, *more: float) -> bool:
        if len(value) > MAX_VALUE:
            raise ValueError(f"a value of {len(value)} octets, above {MAX_VALUE}")
        database.run(sql, _checked(key), value, self._now() + lifetime, *more)
        done = database.changes() > 0
        self._writes += 1
        if self._writes % _TIDY == 0:
            self._tidy(database)
        return done

    def _tidy(self, database: Database) -> None:
        database.run("DELETE FROM key WHERE ends <= ?", self._now())
        surplus = database.number("SELECT count(*) FROM key") - MAX_KEYS
        if surplus > 0:
            database.run("DELETE FROM key WHERE name IN (SELECT name FROM key ORDER BY ends LIMIT ?)", surplus)
        database.checkpoint(Checkpoint.PASSIVE)

    def _opened(self) -> Database:
        if self._database is None:
            database = Database.open(self._path, create=True, sync=Sync.CALLER, busy=1.0)
            database.script(_TABLE)
            self._database = database
        return self._database

    def _work(self, work: Callable[[Database], T]) -> T:
        try:
            return work(self._opened())
        except DatabaseError as error:
            # what its caches hold is not to be believed after some of these; opening again is cheap
            self._close()
            raise KeysUnavailable(f"the keys cannot be used: {error}") from error

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    # -- on the loop

    async def _run(self, work: Callable[[Database], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise KeysUnavailable(f"{MAX_WAITING} requests wait already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, work)
        except RuntimeError as error:
            # the system has no thread for us now
            raise KeysUnavailable(f"the keys cannot be asked: {error}") from error
        finally:
            self._waiting -= 1


_GET = "SELECT value FROM key WHERE name = ? AND ends > ?"


def _checked(key: str) -> str:
    if len(key.encode()) > MAX_KEY:
        raise ValueError(f"a key of more than {MAX_KEY} octets")
    return key


def _octets(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None
