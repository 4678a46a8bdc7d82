"""Makes the sources that keep hashes: a file, SQLite, PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from upesi.config.accounts import SourceUrl
from upesi.config.settings import CredentialsSettings
from upesi.database.errors import DatabaseError
from upesi.database.query import SqliteQuery
from upesi.lookup.account_file import read_file
from upesi.lookup.file import FileTable
from upesi.lookup.pool import WorkPool
from upesi.lookup.private import FileRefused
from upesi.lookup.sql import SqliteTable
from upesi.lookup.stored import StoredCredentials
from upesi.lookup.table import Table
from upesi.sasl.credentials import Ability

if TYPE_CHECKING:
    from upesi.lookup.build import Surroundings

__all__ = ["check", "make"]

# Threads that compare hashes, for each source of a worker. One login costs 36 ms of a processor (`passwords`): more threads than this
# would take the processors from mail, which is what a flood of logins wants
HASH_THREADS = 2
# more than these wait 0.6 s at that cost; clients wait for a minute
HASHES_WAITING = 32


def make(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> StoredCredentials:
    """Return the source; raise LookupFailed."""
    pool = WorkPool(surroundings.loop, "hash", threads=HASH_THREADS, waiting=HASHES_WAITING)
    return StoredCredentials(_table(table, url, pool, surroundings), pool, kept=_kept(table))


def _kept(table: CredentialsSettings) -> tuple[Ability, ...]:
    said = (
        (Ability.SCRAM_SHA_256, table.scram),
        (Ability.SCRAM_SHA_1, table.scram_sha1),
        (Ability.SHARED_SECRET, table.cram_md5),
    )
    return tuple(ability for ability, every in said if every)


def _table(table: CredentialsSettings, url: SourceUrl, pool: WorkPool, surroundings: Surroundings) -> Table:
    loop = surroundings.loop
    if url.scheme == "file":
        return FileTable(Path(url.path), pool, loop.time, surroundings.emit)
    if url.scheme == "postgresql":
        # needs asyncpg, which nobody else does
        from upesi.lookup.postgresql import make_table

        return make_table(table, url)
    return _sqlite(table, url, loop)


def _sqlite(table: CredentialsSettings, url: SourceUrl, loop: asyncio.AbstractEventLoop) -> SqliteTable:
    query = SqliteQuery(Path(url.path), table.query, loop.time)
    return SqliteTable(query, WorkPool(loop, "sqlite", threads=1, waiting=HASHES_WAITING), float(table.timeout))


def check(table: CredentialsSettings, url: SourceUrl) -> None:
    """Try what a worker would meet at its first login; raise FileRefused."""
    if url.scheme == "file":
        read_file(Path(url.path))
    elif url.scheme == "sqlite":
        query = SqliteQuery(Path(url.path), table.query, time.monotonic)
        try:
            query.check()
        except DatabaseError as error:
            # before anybody has asked: there is no secret that its text could hold
            raise FileRefused(f"{url.path}: {error}") from None
        finally:
            query.close()
