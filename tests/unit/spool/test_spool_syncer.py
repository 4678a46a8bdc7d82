"""Where syncs are made: on the writer's thread while the disk is quick, beside it while it is slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from upesi.database.wal import WalSync
from upesi.mail.ids import MessageId
from upesi.spool.batch import Accept, Item
from upesi.spool.bodies import BodyFolder
from upesi.spool.ledger import Ledger
from upesi.spool.syncer import DESCRIPTORS, Commit, Syncer


class Disk:
    """A log whose syncs take `seconds` of a clock that does not run otherwise; remembers on which threads they were."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.now = 0.0
        self.threads: list[str] = []

    def clock(self) -> float:
        return self.now

    def sync(self) -> None:
        self.threads.append(threading.current_thread().name)
        self.now += self.seconds

    @property
    def beside(self) -> list[bool]:
        """Of each sync, whether it was on another thread than the writer's, which is the test's."""
        return [name.startswith("spool-syncer") for name in self.threads]


class Told(Item):
    """Counts how often somebody was told."""

    __slots__ = ("times",)

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def finish(self) -> None:
        self.times += 1


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def syncer(disk: Disk, tmp_path: Path) -> AsyncIterator[Syncer]:
    made = Syncer(
        asyncio.get_running_loop(), BodyFolder(tmp_path, 1000), lambda event, text: None, lambda error: None, disk.clock
    )
    made.start()
    yield made
    made.close()


async def test_the_last_syncs_decide_where_the_next_one_is(syncer: Syncer, disk: Disk) -> None:
    """Three slow ones in a row make a slow disk, one that is quick a quick one; everybody is told once, whoever makes it."""
    told = []
    for seconds in (0.0005, 0.005, 0.005, 0.0005, 0.005, 0.005, 0.005, 0.005, 0.0005, 0.0005):
        disk.seconds = seconds
        item = Told()
        syncer.hand(Commit([item], [item], Ledger(1)), [cast(WalSync, disk)] * DESCRIPTORS)
        syncer.drain()
        told.append(item)
    assert disk.beside == [False] * 7 + [True, True, False]
    await asyncio.sleep(0)
    assert [item.times for item in told] == [1] * 10


async def test_what_nobody_waits_for_is_not_synced(syncer: Syncer, disk: Disk) -> None:
    """A claim or a release costs no sync."""

    class Passing(Told):
        durable = False

    item = Passing()
    syncer.hand(Commit([item], [item], Ledger(1)), [cast(WalSync, disk)] * DESCRIPTORS)
    assert disk.threads == []
    await asyncio.sleep(0)
    assert item.times == 1


async def test_mail_is_begun_where_syncs_take_four_milliseconds_on_the_average(syncer: Syncer, disk: Disk) -> None:
    """A busy machine makes three of 3 ms of a quick disk's; of them nothing is gained."""
    begun: list[float] = []
    for seconds in (0.003,) * 20 + (0.006,) * 20 + (0.003,) * 20:
        disk.seconds = seconds
        accept = Accept(
            MessageId(bytes(16)), (), None, [], [], (0.0, 0, 0, ""), None, lambda born, took=seconds: begun.append(took)
        )
        syncer.hand(Commit([accept], [accept], Ledger(1)), [cast(WalSync, disk)] * DESCRIPTORS)
        syncer.drain()
    await asyncio.sleep(0)
    # the average lags behind by some
    assert 12 <= begun.count(0.006) < 20
    assert 0 < begun.count(0.003) < 12
    assert begun[0] == 0.006
