"""One question to somebody else's SQLite database, asked again and again with other values, never changing anything.

The values are bound, never part of the text. A connection belongs to one thread; it is opened anew when the file was replaced. What takes
longer than its bound is ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import apsw

from upesi.database.errors import DatabaseGone
from upesi.database.sqlite import Value, failed

__all__ = ["SqliteQuery"]

# steps of SQLite's machine between two looks at the clock: about a millisecond
_STEPS = 100_000


class SqliteQuery:
    """`sql` asked of the database at `path`; `now` is a monotonic clock."""

    __slots__ = ("_connection", "_ends", "_file", "_now", "_path", "_sql")

    def __init__(self, path: Path, sql: str, now: Callable[[], float]) -> None:
        self._path = path
        self._sql = sql
        self._now = now
        self._connection: apsw.Connection | None = None
        self._file = (0, 0)
        self._ends = 0.0

    def check(self) -> None:
        """Open the database and compile the question; raise DatabaseError."""
        self.rows({"1": "", "2": "", "3": ""}, most=0, within=1.0)

    def rows(self, values: Mapping[str, str], *, most: int, within: float) -> list[tuple[Value, ...]]:
        """Return at most `most` rows and one more; `values` are those of `$1`, `$2`, ...

        Raises:
            DatabaseError: it cannot be answered, or not `within` so many seconds.
        """
        try:
            connection = self._opened()
            self._ends = self._now() + within
            connection.set_busy_timeout(int(within * 1000))
            return list(islice(connection.execute(self._sql, dict(values)), most + 1))
        except apsw.Error as error:
            self.close()
            raise failed(error) from error
        except OSError as error:
            self.close()
            raise DatabaseGone(f"{self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Let go; raises nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)

    def _opened(self) -> apsw.Connection:
        status = os.stat(self._path)
        file = (status.st_dev, status.st_ino)
        if self._connection is None or file != self._file:
            self.close()
            self._file = file
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            # what the file's owner put into its schema is not run with our rights
            connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
            connection.set_progress_handler(self._late, _STEPS)
            self._connection = connection
        return self._connection

    def _late(self) -> bool:
        return self._now() > self._ends
