"""Tables in SQL databases: one question, with the key as `$1`, what stands before its last "@" as `$2`, what stands behind as `$3`.

Each value of each row is a value of the key; NULL is none. The key is bound, never part of the question (ADR-10).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from upesi.database.errors import DatabaseError
from upesi.database.query import SqliteQuery
from upesi.lookup.failures import LookupFailed
from upesi.lookup.pool import WorkPool

__all__ = ["MAX_VALUES", "SqliteTable", "parameters", "used", "values_of"]

# rows that one key may have: a question that forgot its WHERE must not read the whole table into memory
MAX_VALUES = 1_000
_PARAMETER = re.compile(r"\$([1-9]\d?)")


class SqliteTable:
    """A question to an SQLite database, in a thread of its own (`pool` has one). `within`: seconds it may take."""

    __slots__ = ("_pool", "_query", "_within")

    def __init__(self, query: SqliteQuery, pool: WorkPool, within: float) -> None:
        self._query = query
        self._pool = pool
        self._within = within

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the values of `key`."""
        return await self._pool.run(self._get, key)

    async def close(self) -> None:
        """Let the thread end; the connection goes with its last question."""
        self._pool.close()

    def _get(self, key: str) -> tuple[str, ...] | None:
        given = dict(zip("123", parameters(key), strict=True))
        try:
            return values_of(self._query.rows(given, most=MAX_VALUES, within=self._within))
        except DatabaseError as error:
            raise LookupFailed(type(error).__name__) from None


def parameters(key: str) -> tuple[str, str, str]:
    """Return the values of `$1`, `$2` and `$3`."""
    local_part, at, domain = key.rpartition("@")
    return (key, local_part, domain) if at else (key, key, "")


def used(question: str) -> int:
    """Return how many parameters a question has: the highest number in it."""
    return max((int(number) for number in _PARAMETER.findall(question)), default=0)


def values_of(rows: Sequence[Iterable[object]]) -> tuple[str, ...] | None:
    """Return the values of some rows, None where there are none; raise LookupFailed for what is no text, and for too many."""
    if not rows:
        return None
    if len(rows) > MAX_VALUES:
        raise LookupFailed("too many rows")
    values = [value for row in rows for value in row if value is not None]
    if not all(isinstance(value, str) for value in values):
        raise LookupFailed("a value that is no text")
    return tuple(map(str, values))
