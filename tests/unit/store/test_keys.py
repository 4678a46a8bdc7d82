"""Keys with a lifetime: two openings of one file stand for two workers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from upesi.store import lifetimes
from upesi.store.keys import KeysUnavailable
from upesi.store.lifetimes import SqliteKeys


class World:
    """Two workers and a wall clock that is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_800_000_000.0
        self.one = SqliteKeys(folder / "keys.db", lambda: self.now)
        self.two = SqliteKeys(folder / "keys.db", lambda: self.now)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    yield made
    await made.one.close()
    await made.two.close()


async def test_what_one_worker_puts_the_other_gets(world: World) -> None:
    """Keys are the machine's, not the worker's."""
    await world.one.put("greylist:a", b"1", 60)
    assert await world.two.get("greylist:a") == b"1"
    await world.two.put("greylist:a", b"2", 60)
    assert await world.one.get("greylist:a") == b"2"
    await world.two.remove("greylist:a")
    assert await world.one.get("greylist:a") is None


async def test_a_key_ends_with_its_lifetime(world: World) -> None:
    """What has ended is not there, and may be added anew."""
    await world.one.put("k", b"1", 60)
    world.now += 59
    assert await world.two.get("k") == b"1"
    assert not await world.two.add("k", b"2", 60)
    world.now += 2
    assert await world.two.get("k") is None
    assert await world.two.add("k", b"2", 60)
    assert await world.one.get("k") == b"2"


async def test_of_many_at_once_one_adds(world: World) -> None:
    """`add` is for locks: one is told True, whichever worker asked."""
    told = await asyncio.gather(*(each.add("lock", b"x", 60) for each in (world.one, world.two) * 20))
    assert told.count(True) == 1


async def test_keys_survive_a_restart(tmp_path: Path) -> None:
    """Greylisting would begin anew with every reload otherwise."""
    before = World(tmp_path)
    await before.one.put("k", b"1", 3600)
    await before.one.close()
    after = World(tmp_path)
    assert await after.one.get("k") == b"1"
    await after.one.close()


async def test_a_step_of_the_clock_ends_no_more_than_it_spans(world: World) -> None:
    """CLK-03: two hours forward end what had less than that to live; two hours back bring nothing to an end."""
    await world.one.put("short", b"1", 3600)
    await world.one.put("long", b"1", 36 * 3600)
    world.now -= 7200
    assert await world.one.get("short") == b"1"
    world.now += 4 * 3600
    assert await world.one.get("short") is None
    assert await world.one.get("long") == b"1"


async def test_keys_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLD-11: past the bound those that end first are given up, and what has ended goes."""
    monkeypatch.setattr(lifetimes, "MAX_KEYS", 50)
    monkeypatch.setattr(lifetimes, "_TIDY", 10)
    for number in range(200):
        await world.one.put(f"k{number}", b"", 1000 + number)
    held = [number for number in range(200) if await world.two.get(f"k{number}") is not None]
    assert len(held) <= 60
    assert held[-1] == 199
    with pytest.raises(ValueError, match="key"):
        await world.one.put("k" * 2000, b"", 1)
    with pytest.raises(ValueError, match="value"):
        await world.one.put("k", bytes(100_000), 1)


async def test_trouble_is_told_and_passes(tmp_path: Path) -> None:
    """A folder that is missing: the caller decides without keys; when it is there the keys work."""
    keys = SqliteKeys(tmp_path / "folder" / "keys.db", lambda: 0.0)
    with pytest.raises(KeysUnavailable):
        await keys.get("k")
    (tmp_path / "folder").mkdir()
    await keys.put("k", b"1", 60)
    assert await keys.get("k") == b"1"
    await keys.close()


async def test_the_line_of_requests_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever would wait too long is told at once."""
    monkeypatch.setattr(lifetimes, "MAX_WAITING", 5)
    results = await asyncio.gather(*(world.one.get("k") for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(result, KeysUnavailable) for result in results) == 15
    assert await world.one.get("k") is None
