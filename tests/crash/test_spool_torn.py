"""Torn and flipped files: never a wrong octet handed out, never a traceback; refused, put aside, or read right (STO-06)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from spool_driver import body_of, settings

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId, MessageIds
from upesi.mail.route import HostRoute
from upesi.spool.admin import Selector, SpoolAdmin
from upesi.spool.records import SHARDS, Delivery, NewDelivery, NewMessage
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError

QUEUE = "host:h:25"


async def filled(folder: Path, count: int) -> dict[str, str]:
    """Make a spool with `count` messages; return the sum of each body."""
    admin, store = await opened(folder)
    chance = random.Random(count)
    ids = MessageIds(time.time, chance.randbytes)
    sums = {}
    waiting = []
    for _ in range(count):
        id = ids.next()
        octets = body_of(id)
        now = time.time()
        new = NewDelivery(QUEUE, HostRoute("127.0.0.1"), (Recipient(Address("a", "example.org")),), now, now + 99)
        future: asyncio.Future[SpoolError | None] = asyncio.get_running_loop().create_future()

        def done(
            error: SpoolError | None, born: Sequence[Delivery], future: asyncio.Future[SpoolError | None] = future
        ) -> None:
            future.set_result(error)

        store.accept(NewMessage(id, now, None, Transmission(), b"", MemoryBody(octets), (new,)), done)
        waiting.append(future)
        sums[id.hex()] = hashlib.sha256(octets).hexdigest()
    assert set(await asyncio.gather(*waiting)) == {None}
    await store.close()
    # a start copies the log into the database and empties it: whole in the log, damaged pages would be mended from there
    admin.recover_all()
    admin.close()
    log = folder / "spool.db-wal"
    assert not log.exists() or log.stat().st_size == 0
    return sums


async def opened(folder: Path) -> tuple[SpoolAdmin, SqliteStore]:
    admin = SpoolAdmin.open_or_create(settings(folder))
    try:
        epoch = admin.register_member()
        admin.assign(dict.fromkeys(range(SHARDS), epoch))
        store = await SqliteStore.open(folder, epoch, settings(folder), time.time, lambda event, text: None)
    except BaseException:
        admin.close()
        raise
    store.set_shards(frozenset(range(SHARDS)))
    return admin, store


async def read_all(folder: Path, sums: dict[str, str]) -> int:
    """Open what is left and read it; return how many messages are right. What is wrong must say so."""
    try:
        admin, store = await opened(folder)
    except SpoolError:
        return 0
    right = 0
    try:
        try:
            admin.list(Selector(), 10_000)
            await store.claim(QUEUE, time.time() + 1, 10_000)
        except SpoolError:
            pass
        for id, sum in sums.items():
            try:
                message = await store.load(MessageId(bytes.fromhex(id)))
            except SpoolError:
                continue
            if message is not None:
                assert hashlib.sha256(b"".join(message.body.chunks())).hexdigest() == sum
                right += 1
    finally:
        await store.close()
        admin.close()
    return right


def harmed(path: Path, chance: random.Random, how: str) -> None:
    octets = bytearray(path.read_bytes())
    place = chance.randrange(len(octets))
    if how == "flip":
        octets[place] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del octets[place:]
    elif how == "zero":
        octets[place : place + 512] = bytes(len(octets[place : place + 512]))
    else:
        octets += bytes(8)
    path.write_bytes(octets)


async def torn(tmp_path: Path, how: str, rounds: int) -> None:
    original = tmp_path / "original" / "spool"
    sums = await filled(original, 40)
    chance = random.Random(how)
    rights = []
    for n in range(rounds):
        copy = tmp_path / f"copy{n}" / "spool"
        shutil.copytree(original, copy)
        harmed(copy / "spool.db", chance, how)
        rights.append(await read_all(copy, sums))
        shutil.rmtree(copy.parent)
    # one flipped octet must not cost the whole spool, as a rule
    if how in ("flip", "zero"):
        assert sum(rights) > 0.7 * rounds * len(sums)
    if how == "tail":
        assert rights == [len(sums)] * rounds


HARMS = ("flip", "cut", "zero", "tail")


@pytest.mark.slow
@pytest.mark.parametrize("how", HARMS)
async def test_a_damaged_database_never_gives_wrong_octets(tmp_path: Path, how: str) -> None:
    """Whatever octets of the database are flipped, zeroed, cut off or added: right, refused, or put aside."""
    await torn(tmp_path, how, 12)


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", HARMS)
async def test_a_damaged_database_never_gives_wrong_octets_at_length(tmp_path: Path, how: str) -> None:
    """The same, 500 times each."""
    await torn(tmp_path, how, 500)
