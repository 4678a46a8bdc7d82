"""Tables of plugins: a text file that may change, SQLite, and what stands around each."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from upesi.limits.breaker import BREAK_AFTER, Breaker
from upesi.lookup.failures import LookupFailed
from upesi.lookup.tables import MAX_ASKING, MAX_KEY, CheckedTables, GuardedTable, Tables
from upesi.mail.errors import ServiceFailed
from upesi.testkit import FakeClock


class Source:
    """A table that does as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.problem: BaseException | None = None
        self.gate: asyncio.Event | None = None

    async def get(self, key: str) -> tuple[str, ...] | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.problem is not None:
            raise self.problem
        return (key,)

    async def close(self) -> None:
        pass


def guarded(source: Source, *, timeout: float = 5.0) -> tuple[GuardedTable, FakeClock]:
    clock = FakeClock()
    return GuardedTable("test:x", source, timeout, Breaker(clock.monotonic)), clock


async def test_every_failure_is_one_kind() -> None:
    """ServiceFailed, whatever a library raised; its text, which may repeat what was asked, is not shown."""
    source = Source()
    table, _ = guarded(source)
    assert await table.get("a") == ("a",)
    for problem in (OSError("secret"), ValueError("secret"), LookupFailed("no answer in time"), SystemExit("secret")):
        source.problem = problem
        with pytest.raises(ServiceFailed) as error:
            await table.get("a")
        assert "secret" not in str(error.value)
        assert str(error.value).startswith("test:x: ")


async def test_a_table_that_is_down_is_left_alone() -> None:
    """PLG-04: behind five failures nobody asks it for half a minute, and everybody is told at once."""
    source = Source()
    table, clock = guarded(source)
    source.problem = OSError()
    for _ in range(BREAK_AFTER + 3):
        with pytest.raises(ServiceFailed):
            await table.get("a")
    assert source.asked == BREAK_AFTER
    source.problem = None
    clock.advance(31)
    assert await table.get("a") == ("a",)
    assert await table.get("b") == ("b",)


async def test_a_table_that_hangs_is_bounded() -> None:
    """In time and in how many wait."""
    source = Source()
    source.gate = asyncio.Event()
    table, _ = guarded(source, timeout=0.05)
    with pytest.raises(ServiceFailed, match="TimeoutError"):
        await table.get("a")
    table, _ = guarded(source, timeout=60)
    waiting = [asyncio.ensure_future(table.get("a")) for _ in range(MAX_ASKING)]
    await asyncio.sleep(0)
    with pytest.raises(ServiceFailed, match="too many ask"):
        await table.get("a")
    source.gate.set()
    assert await asyncio.gather(*waiting) == [("a",)] * MAX_ASKING


async def test_a_key_that_is_too_long_is_not_there() -> None:
    """Keys are made of what clients say."""
    source = Source()
    table, _ = guarded(source)
    assert await table.get("x" * (MAX_KEY + 1)) is None
    assert source.asked == 0


async def test_a_file_is_a_table(tmp_path: Path) -> None:
    """A key and its values in each line, comments, any case of letters."""
    (tmp_path / "list.txt").write_text("# ours\nAnna@example.com one two\n\nbert@example.com\n")
    tables = Tables(asyncio.get_running_loop(), lambda name, fields: None, tmp_path)
    table = tables.table("file:list.txt")
    assert await table.get("anna@EXAMPLE.com") == ("one", "two")
    assert await table.get("bert@example.com") == ()
    assert await table.get("nobody") is None
    await tables.close()


async def test_sqlite_is_a_table(tmp_path: Path) -> None:
    """A question with the key bound, never part of it."""
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("CREATE TABLE users(name TEXT, domain TEXT, place TEXT)")
        database.execute("INSERT INTO users VALUES ('anna', 'example.com', '/mail/anna')")
    database.close()
    tables = Tables(asyncio.get_running_loop(), lambda name, fields: None, tmp_path)
    table = tables.table("sqlite:x.db", query="SELECT place FROM users WHERE name = $2 AND domain = $3")
    assert await table.get("anna@example.com") == ("/mail/anna",)
    assert await table.get("anna@example.com' OR 1=1 --") is None
    await tables.close()


@pytest.mark.parametrize(
    ("source", "query", "complaint"),
    [
        ("file:missing.txt", "", "cannot be read"),
        ("file:twice.txt", "", "for the second time"),
        ("file:binary.txt", "", "is not UTF-8"),
        ("sqlite:missing.db", "SELECT 1", "missing.db"),
        ("sqlite:twice.txt", "", "needs a query"),
        ("ldap://x.example", "", "a table is file:PATH"),
        ("fyle:x", "", "did you mean file"),
    ],
)
async def test_what_is_no_table_stops_the_start(tmp_path: Path, source: str, query: str, complaint: str) -> None:
    """In a worker and where a configuration is only checked."""
    (tmp_path / "twice.txt").write_text("a 1\nA 2\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\n")
    for tables in (Tables(asyncio.get_running_loop(), lambda name, fields: None, tmp_path), CheckedTables(tmp_path)):
        with pytest.raises((ValueError, ServiceFailed), match=complaint):
            tables.table(source, query=query)
