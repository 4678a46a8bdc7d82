"""Failures that wait for their report: few, and each way to fail once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from upesi.mail.address import Address
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.failure import Failure
from upesi.store.failures import MAX_CONDITIONS, MAX_WAITING, Failures
from upesi.testkit import FakeClock

WANTED = (ReportUri(Address("r", "bank.example")),)
ONE = Failure(
    "dmarc", "bank.example", "bank.example", WANTED, False, False, False, False, (), "192.0.2.1", 25, None, "", 0.0, b""
)


def failure(**changes: object) -> Failure:
    return msgspec.structs.replace(ONE, **changes)


async def told(failures: Failures) -> list[tuple[Failure, int]]:
    """Return all that waits."""
    found: list[tuple[Failure, int]] = []
    while True:
        waiting = asyncio.ensure_future(failures.next())
        await asyncio.sleep(0)
        if not waiting.done():
            waiting.cancel()
            return found
        found.append(waiting.result())


async def test_messages_that_fail_alike_are_one_report_an_hour() -> None:
    """C80: RFC 9991 section 8.1: the next report says how many there were."""
    clock = FakeClock(1000.0)
    failures = Failures(clock.monotonic)
    for _ in range(5):
        failures.note(ONE)
    assert [count for _, count in await told(failures)] == [1]
    clock.advance(3601)
    failures.note(ONE)
    failures.note(ONE)
    assert [count for _, count in await told(failures)] == [5]


@pytest.mark.parametrize(
    "changes", [{"source": "192.0.2.2"}, {"holder": "x.example"}, {"kind": "spf"}, {"spf_aligned": True}, {"author": "a.example"}]
)  # fmt: skip
async def test_another_way_to_fail_is_another_report(changes: dict[str, object]) -> None:
    """C80: different failures are told of, not each failure."""
    failures = Failures(FakeClock(1000.0).monotonic)
    failures.note(ONE)
    failures.note(failure(**changes))
    assert len(await told(failures)) == 2


async def test_a_flood_fills_neither_memory_nor_the_queue() -> None:
    """C80: MAX_WAITING, MAX_CONDITIONS: the rest is forgotten, and counted."""
    failures = Failures(FakeClock(1000.0).monotonic)
    for number in range(MAX_WAITING + 7):
        failures.note(failure(source=f"host{number}"))
    assert failures.dropped == 7
    assert len(await told(failures)) == MAX_WAITING
    for number in range(MAX_CONDITIONS * 2):
        failures.note(failure(source=f"other{number}"))
        await told(failures)
    assert len(failures._told) <= MAX_CONDITIONS


async def test_whoever_waits_is_woken() -> None:
    """The sender sleeps while there is nothing to tell."""
    failures = Failures(FakeClock(1000.0).monotonic)
    waiting = asyncio.ensure_future(failures.next())
    await asyncio.sleep(0)
    assert not waiting.done()
    failures.note(ONE)
    assert (await waiting)[0] is ONE
