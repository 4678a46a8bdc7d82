"""Questions to a PostgreSQL database, read only, values bound and never part of the text. The only module that knows asyncpg.

No statement is kept prepared on a connection: behind a pooler that hands out connections by transaction (pgbouncer) the next one would not
know it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence

import asyncpg
import msgspec

from upesi.database.errors import DatabaseError, DatabaseGone

__all__ = ["PostgresDatabase", "PostgresPlace"]


class PostgresPlace(msgspec.Struct, frozen=True):
    """Where a database is. `host` may be the folder of a Unix socket; `context` None: without TLS."""

    host: str
    port: int
    user: str
    password: str
    database: str
    context: ssl.SSLContext | None

    def __repr__(self) -> str:
        # no password in any trace
        return f"PostgresPlace({self.host!r}, {self.port}, {self.database!r})"


class PostgresDatabase:
    """At most `connections` connections, opened when they are needed and kept for five minutes."""

    __slots__ = ("_connections", "_opening", "_place", "_pool")

    def __init__(self, place: PostgresPlace, connections: int) -> None:
        self._place = place
        self._connections = connections
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()

    async def rows(self, sql: str, values: Sequence[str], *, most: int, within: float) -> list[tuple[object, ...]]:
        """Return at most `most` rows and one more; raise DatabaseError. The texts of errors hold neither `sql` nor `values`."""
        try:
            pool = self._pool or await self._opened(within)
            async with pool.acquire(timeout=within) as connection, connection.transaction(readonly=True):
                cursor = await connection.cursor(sql, *values, timeout=within)
                return [tuple(row) for row in await cursor.fetch(most + 1, timeout=within)]
        except asyncpg.PostgresError as error:
            # the server's words may hold what was asked
            raise DatabaseError(f"{type(error).__name__} ({error.sqlstate})") from None
        except (OSError, asyncpg.InterfaceError, ValueError) as error:
            # by number: the loop's own text has the address in it
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
            raise DatabaseGone(why) from None

    async def close(self) -> None:
        """Close all connections, now: what is still asked has nobody waiting for it."""
        if self._pool is not None:
            self._pool.terminate()

    async def _opened(self, within: float) -> asyncpg.Pool:
        async with self._opening:
            if self._pool is None:
                # connects nowhere yet
                self._pool = await self._make(within)
            return self._pool

    def _make(self, within: float) -> asyncpg.Pool:
        place = self._place
        return asyncpg.create_pool(
            host=place.host,
            port=place.port,
            user=place.user,
            password=place.password or None,
            database=place.database,
            # False, not None: asyncpg's None means "TLS if the server likes"
            ssl=place.context or False,
            timeout=within,
            command_timeout=within,
            statement_cache_size=0,
            min_size=0,
            max_size=self._connections,
            server_settings={"application_name": "upesi"},
        )
