"""Rows of aggregate reports, in a file that several workers share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from upesi.mail.address import Address
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.observation import Observation, Published
from upesi.store import aggregates
from upesi.store.aggregates import DAY, Aggregates, AggregatesUnavailable
from upesi.testkit import FakeClock

PUBLISHED = Published("bank.example", "reject", rua=(ReportUri(Address("r", "bank.example")),))
ROW = Observation("192.0.2.1", "bank.example", "", "reject", False, False)
TODAY = 20_000


class World:
    """Workers that share one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = FakeClock()
        self.workers: list[Aggregates] = []
        self.at(TODAY)

    def at(self, day: float) -> None:
        self.clock.step(day * DAY - self.clock.now())

    def worker(self) -> Aggregates:
        self.workers.append(Aggregates(self.path, self.clock.now))
        return self.workers[-1]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "dmarc.db")
    yield made
    for worker in made.workers:
        await worker.close()


def other(number: int) -> Observation:
    return msgspec.structs.replace(ROW, source=f"192.0.2.{number}")


async def test_equal_messages_are_one_row(world: World) -> None:
    """RFC 9990 section 3.1: rows with counts, from all workers, the most frequent first; due when the day is over, once."""
    one, two = world.worker(), world.worker()
    for worker in (one, two, one):
        worker.note(PUBLISHED, ROW)
    two.note(PUBLISHED, other(2))
    await one.settle()
    await two.settle()
    assert await one.claim(60) is None
    world.at(TODAY + 1.1)
    day = await two.claim(60)
    assert day is not None
    assert (day.domain, day.published, day.rows) == ("bank.example", PUBLISHED, ((ROW, 3), (other(2), 1)))
    assert (day.begins, day.ends, day.tries, day.lost) == (TODAY * DAY, TODAY * DAY + DAY - 1, 1, 0)
    assert await one.claim(60) is None


async def test_days_and_domains_are_reports_of_their_own(world: World) -> None:
    """One for each domain and day."""
    worker = world.worker()
    worker.note(PUBLISHED, ROW)
    worker.note(msgspec.structs.replace(PUBLISHED, domain="shop.example"), ROW)
    world.at(TODAY + 0.9999)
    worker.note(PUBLISHED, ROW)
    world.at(TODAY + 1)
    worker.note(PUBLISHED, ROW)
    await worker.settle()
    world.at(TODAY + 2.1)
    claimed = [await worker.claim(60) for _ in range(4)]
    found = sorted((day.day, day.domain, day.rows[0][1]) for day in claimed if day is not None)
    assert found == [(TODAY, "bank.example", 2), (TODAY, "shop.example", 1), (TODAY + 1, "bank.example", 1)]


async def test_a_worker_that_died_is_followed(world: World) -> None:
    """A lease that ends without `sent` makes the day due again; what was sent never is."""
    one, two = world.worker(), world.worker()
    one.note(PUBLISHED, ROW)
    await one.settle()
    world.at(TODAY + 1.1)
    assert await one.claim(60) is not None
    assert await two.claim(60) is None
    world.clock.advance(61)
    again = await two.claim(60)
    assert again is not None
    assert (again.tries, again.rows) == (2, ((ROW, 1),))
    await two.sent(again)
    world.clock.advance(600)
    assert await one.claim(60) is None


async def test_a_report_that_cannot_go_now_goes_later(world: World) -> None:
    """DNS was silent: the day comes back, and after three days it is forgotten."""
    worker = world.worker()
    worker.note(PUBLISHED, ROW)
    await worker.settle()
    world.at(TODAY + 1.1)
    day = await worker.claim(60)
    assert day is not None
    await worker.later(day, 3600)
    world.clock.advance(3599)
    assert await worker.claim(60) is None
    world.clock.advance(2)
    assert await worker.claim(60) == msgspec.structs.replace(day, tries=2)
    world.at(TODAY + 4.1)
    assert await worker.claim(60) is None


async def test_rows_survive_a_restart(world: World) -> None:
    """What was noted before `close` is there for the next worker."""
    world.worker().note(PUBLISHED, ROW)
    await world.workers.pop().close()
    world.at(TODAY + 1.1)
    day = await world.worker().claim(60)
    assert day is not None
    assert day.rows == ((ROW, 1),)


async def test_a_stranger_cannot_fill_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """DMARC-02: rows of a domain, domains of a day and what waits in memory are bounded; beyond, messages are counted."""
    monkeypatch.setattr(aggregates, "MAX_ROWS", 3)
    monkeypatch.setattr(aggregates, "MAX_DOMAINS", 2)
    worker = world.worker()
    for number in range(10):
        worker.note(PUBLISHED, other(number))
        worker.note(msgspec.structs.replace(PUBLISHED, domain=f"d{number}.example"), ROW)
    await worker.settle()
    world.at(TODAY + 1.1)
    days = [day for day in [await worker.claim(60) for _ in range(3)] if day is not None]
    assert [(day.domain, len(day.rows), day.lost) for day in days if day.domain == "bank.example"] == [
        ("bank.example", 3, 7)
    ]
    assert len(days) == 2
    assert worker.dropped == 9
    monkeypatch.setattr(aggregates, "MAX_PENDING", 1)
    worker.note(PUBLISHED, ROW)
    worker.note(PUBLISHED, ROW)
    worker.note(PUBLISHED, other(77))
    worker.note(PUBLISHED, other(78))
    assert worker.dropped == 11
    await worker.settle()


async def test_a_file_that_cannot_be_used_stops_no_mail(tmp_path: Path) -> None:
    """Noting raises nothing and counts what it lost; who sends is told."""
    worker = Aggregates(tmp_path / "missing" / "dmarc.db", FakeClock().now)
    worker.note(PUBLISHED, ROW)
    await worker.settle()
    assert worker.dropped == 1
    with pytest.raises(AggregatesUnavailable):
        await worker.claim(60)
    await worker.close()
    worker.note(PUBLISHED, ROW)
    assert worker.dropped == 2
    await asyncio.sleep(0)
