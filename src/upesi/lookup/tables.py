"""Tables for plugins: the service `lookup`. What stands around every one is here: a deadline, a bound, a breaker, one kind of failure.

A table is made when its plugin is, so that a file that cannot be read stops the start and not the first mail.
"""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from upesi.config.accounts import SourceUrl, source_url
from upesi.config.settings import CredentialsSettings
from upesi.config.units import Duration
from upesi.database.errors import DatabaseError
from upesi.database.query import SqliteQuery
from upesi.limits.breaker import Breaker
from upesi.lookup.failures import LookupFailed
from upesi.lookup.pool import WorkPool
from upesi.lookup.sql import SqliteTable
from upesi.lookup.table import Table
from upesi.lookup.words import WordsTable, read_words

__all__ = ["MAX_ASKING", "MAX_KEY", "CheckedTables", "GuardedTable", "Tables"]

# questions under way to one table in one worker; beyond them the answer is "not now" at once, and not a line that grows
MAX_ASKING = 500
# characters of a key: keys are made of what clients say
MAX_KEY = 1024
# questions that may wait for the one thread that reads a file or SQLite
_WAITING = MAX_ASKING
_TIMEOUT = 5.0

Emit = Callable[[str, Mapping[str, str | int]], None]


class GuardedTable:
    """One table, guarded; `name` is what its failures call it."""

    __slots__ = ("_asking", "_breaker", "_table", "_timeout", "name")

    def __init__(self, name: str, table: Table, timeout: float, breaker: Breaker) -> None:
        self.name = name
        self._table = table
        self._timeout = timeout
        self._breaker = breaker
        self._asking = 0

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the values of `key`, None where it has none; raise LookupFailed (ServiceFailed) where the table has no answer now."""
        if len(key) > MAX_KEY:
            return None
        if self._asking >= MAX_ASKING:
            raise LookupFailed(f"{self.name}: too many ask")
        if self._breaker.shut():
            raise LookupFailed(f"{self.name}: failed again and again, and is left alone for a while")
        self._asking += 1
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._table.get(key)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._breaker.failed()
            # a library's own text might repeat what was asked
            text = str(error) if isinstance(error, LookupFailed) else type(error).__name__
            raise LookupFailed(f"{self.name}: {text}") from None
        finally:
            self._asking -= 1
        self._breaker.succeeded()
        return found

    async def close(self) -> None:
        """Let go of it."""
        await self._table.close()


class Tables:
    """The service `lookup`: makes tables, and closes them with the worker."""

    __slots__ = ("_emit", "_folder", "_loop", "_tables")

    def __init__(self, loop: asyncio.AbstractEventLoop, emit: Emit, folder: Path) -> None:
        """`folder` is the one that relative paths are relative to."""
        self._loop = loop
        self._emit = emit
        self._folder = folder
        self._tables: list[GuardedTable] = []

    def table(self, source: str, *, query: str = "", secret_file: str = "", timeout: float = _TIMEOUT) -> GuardedTable:
        """Return the table "file:PATH", "sqlite:PATH" or "postgresql://USER@HOST/DATABASE".

        Databases need a `query`, with the key as $1, what stands before its last "@" as $2 and what stands behind as $3; PostgreSQL
        may need the path of a file with its password. `timeout` is in seconds, for one question. Raises ValueError and LookupFailed for
        what cannot be used.
        """
        made = self._made(source_url(source), source, query, secret_file, timeout)
        table = GuardedTable(source, made, float(timeout), Breaker(self._loop.time))
        self._tables.append(table)
        return table

    async def close(self) -> None:
        """Close all of them."""
        for table in self._tables:
            await table.close()

    def _made(self, url: SourceUrl, source: str, query: str, secret_file: str, timeout: float) -> Table:
        url = _placed(url, source, query, self._folder)
        if url.scheme == "file":
            pool = WorkPool(self._loop, "words", threads=1, waiting=_WAITING)
            return WordsTable(Path(url.path), pool, self._loop.time, self._emit)
        settings = CredentialsSettings(source=source, query=query, secret_file=secret_file, timeout=Duration(timeout))
        if url.scheme == "sqlite":
            return self._sqlite(settings, url)
        # needs asyncpg, which nobody else does
        return importlib.import_module("upesi.lookup.postgresql").make_table(settings, url)  # type: ignore[no-any-return]

    def _sqlite(self, settings: CredentialsSettings, url: SourceUrl) -> Table:
        query = SqliteQuery(Path(url.path), settings.query, self._loop.time)
        # the first question would find what is wrong now
        _check(query)
        return SqliteTable(query, WorkPool(self._loop, "sqlite", threads=1, waiting=_WAITING), float(settings.timeout))


class CheckedTables:
    """Stands for `Tables` while a configuration is only checked: files are looked into, nothing is kept or connected."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self, source: str, *, query: str = "", secret_file: str = "", timeout: float = _TIMEOUT) -> GuardedTable:
        """Check a table; raise as `Tables.table` does."""
        url = _placed(source_url(source), source, query, self._folder)
        if url.scheme == "file":
            read_words(Path(url.path))
        elif url.scheme == "sqlite":
            _check(SqliteQuery(Path(url.path), query, time.monotonic))
        return GuardedTable(source, _Nothing(), timeout, Breaker(time.monotonic))


class _Nothing:
    async def get(self, key: str) -> tuple[str, ...] | None:
        raise LookupFailed("is only being checked")

    async def close(self) -> None:
        """Nothing is held."""


def _placed(url: SourceUrl, source: str, query: str, folder: Path) -> SourceUrl:
    """Return `url` with its whole path; raise ValueError for what is no table, and where a question is missing."""
    if url.scheme not in ("file", "sqlite", "postgresql"):
        raise ValueError(f"{source}: a table is file:PATH, sqlite:PATH or postgresql://USER@HOST/DATABASE")
    if url.scheme != "file" and not query:
        raise ValueError(f"{source}: needs a query, with the key as $1")
    return url if url.scheme == "postgresql" else msgspec.structs.replace(url, path=str(folder / url.path))


def _check(query: SqliteQuery) -> None:
    try:
        query.check()
    except DatabaseError as error:
        # before anybody has asked: there is nothing secret that its text could hold
        raise LookupFailed(str(error)) from None
    finally:
        query.close()
