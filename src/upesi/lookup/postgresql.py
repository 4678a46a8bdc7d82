"""A question to PostgreSQL as a table: as `sql`, which says what its parameters are."""

from __future__ import annotations

from pathlib import Path

from upesi.config.accounts import SourceUrl, is_this_machine
from upesi.config.settings import CredentialsSettings
from upesi.database.errors import DatabaseError
from upesi.database.postgresql import PostgresDatabase, PostgresPlace
from upesi.lookup.failures import LookupFailed
from upesi.lookup.private import read_secret
from upesi.lookup.sql import MAX_VALUES, parameters, used, values_of
from upesi.lookup.trust import trusting

__all__ = ["PostgresTable", "make_table"]


def make_table(table: CredentialsSettings, url: SourceUrl) -> PostgresTable:
    """Return the table; raise LookupFailed. Nothing is connected yet."""
    secret = read_secret(Path(table.secret_file)) if table.secret_file else ""
    plain = is_this_machine(url.host) or table.plaintext
    place = PostgresPlace(url.host, url.port, url.user, secret, url.path, None if plain else trusting(table))
    return PostgresTable(PostgresDatabase(place, table.concurrency), table.query, float(table.timeout))


class PostgresTable:
    """`question` asked of `database`; `within`: seconds it may take."""

    __slots__ = ("_count", "_database", "_question", "_within")

    def __init__(self, database: PostgresDatabase, question: str, within: float) -> None:
        self._database = database
        self._question = question
        # the server wants exactly those that the question has
        self._count = used(question)
        self._within = within

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the values of `key`."""
        try:
            rows = await self._database.rows(
                self._question, parameters(key)[: self._count], most=MAX_VALUES, within=self._within
            )
        except DatabaseError as error:
            raise LookupFailed(str(error)) from None
        return values_of(rows)

    async def close(self) -> None:
        """Close all connections."""
        await self._database.close()
