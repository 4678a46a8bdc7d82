"""Tables in SQLite, and what SQL tables have in common."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest
from lookupkit import InlinePool, cheap_hash

from upesi.database.errors import DatabaseError, DatabaseGone
from upesi.database.query import SqliteQuery
from upesi.lookup.failures import LookupFailed
from upesi.lookup.sql import MAX_VALUES, SqliteTable, parameters, used, values_of

HASH = cheap_hash("sesame")
QUERY = "SELECT hash, mail FROM users WHERE name = $1"
# ADR-10: what would be something else in some statement, filter or shell
AWKWARD = [
    "'\"--;${7*7}{{7*7}}%n$(id)",
    "| cmd",
    '"x\'/**/UNION SELECT hash, name FROM users--"@d',
    "' OR '1'='1",
    "$1",
    "?1",
    "%",
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "users.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT, hash, mail)")
        rows = [("anna", HASH, "anna@example.org"), ("bert", HASH, None), ("carl", 7, None)]
        connection.executemany(
            "INSERT INTO users VALUES (?, ?, ?)", rows + [(name, HASH, "x@y") for name in AWKWARD[:1]]
        )
    connection.close()
    return path


def table(path: Path, query: str = QUERY, within: float = 5.0) -> SqliteTable:
    return SqliteTable(SqliteQuery(path, query, time.monotonic), InlinePool(), within)  # type: ignore[arg-type]


async def test_the_values_of_a_user(database: Path) -> None:
    """Every column of every row is a value; NULL is none; no row is no user."""
    users = table(database)
    assert await users.get("anna") == (HASH, "anna@example.org")
    assert await users.get("bert") == (HASH,)
    assert await users.get("nobody") is None


async def test_parts_of_the_name_and_several_rows(database: Path) -> None:
    """$2 is before, $3 behind the last "@": virtual domains are asked with both."""
    both = table(database, "SELECT hash FROM users WHERE name = $2 UNION ALL SELECT 'name=' || $2 || '%' || $3")
    assert await both.get("anna@example.org") == (HASH, "name=anna%example.org")
    assert parameters("a@b@c") == ("a@b@c", "a@b", "c")
    assert parameters("anna") == ("anna", "anna", "")


@pytest.mark.parametrize("name", AWKWARD)
async def test_a_name_is_a_value_whatever_it_looks_like(database: Path, name: str) -> None:
    """ADR-10: bound, never part of the statement."""
    found = await table(database).get(name)
    assert found == ((HASH, "x@y") if name == AWKWARD[0] else None)


async def test_what_is_no_text_is_no_answer(database: Path) -> None:
    """AUT-07: a number where a hash belongs is a mistake, not a user without a password."""
    with pytest.raises(LookupFailed, match="no text"):
        await table(database).get("carl")


async def test_a_question_that_finds_too_much_is_no_answer(database: Path) -> None:
    """One that forgot its WHERE does not fill the memory."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT 'x' || i || $1 FROM n"
    with pytest.raises(LookupFailed, match="too many rows"):
        await table(database, endless).get("anna")
    with pytest.raises(LookupFailed):
        values_of([("x",)] * (MAX_VALUES + 1))


async def test_a_question_that_takes_too_long_is_ended(database: Path) -> None:
    """AUT-07: it does not keep its thread; the next one is answered."""
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n WHERE $1 <> ''"
    users = table(database, slow, within=0.05)
    with pytest.raises(LookupFailed):
        await users.get("anna")
    users._query._sql, users._within = QUERY, 20.0
    assert await users.get("anna") == (HASH, "anna@example.org")


async def test_nothing_can_be_changed(database: Path) -> None:
    """The connection is for reading, whatever the question says."""
    for sql in ("DELETE FROM users WHERE name = $1 RETURNING name", "UPDATE users SET hash = $1 RETURNING hash"):
        with pytest.raises(LookupFailed):
            await table(database, sql).get("anna")
    assert await table(database).get("anna")


async def test_a_database_that_was_replaced_is_opened_anew(database: Path, tmp_path: Path) -> None:
    """A nightly export that renames a new file over the old one counts."""
    users = table(database)
    assert await users.get("anna")
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE users (name TEXT, hash, mail)")
    connection.close()
    os.rename(other, database)
    assert await users.get("anna") is None
    os.unlink(database)
    with pytest.raises(LookupFailed):
        await users.get("anna")


def test_a_wrong_question_is_told_at_the_start(database: Path, tmp_path: Path) -> None:
    """Before anybody logs in: no such table, no such file, no database at all."""
    for query in ("SELECT hash FROM user WHERE name = $1", "SELEC $1"):
        with pytest.raises(DatabaseError, match=r"user|syntax"):
            SqliteQuery(database, query, time.monotonic).check()
    with pytest.raises(DatabaseGone):
        SqliteQuery(tmp_path / "absent.db", QUERY, time.monotonic).check()
    (tmp_path / "text").write_text("no database" * 100)
    with pytest.raises(DatabaseError):
        SqliteQuery(tmp_path / "text", QUERY, time.monotonic).check()
    SqliteQuery(database, QUERY, time.monotonic).check()


def test_how_many_parameters_a_question_has() -> None:
    """PostgreSQL wants exactly those."""
    assert used("SELECT a FROM b WHERE c = $1 AND d = $3") == 3
    assert used("SELECT 1") == 0
