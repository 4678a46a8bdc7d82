"""A process that works a spool as hard as it can and says what it was promised; it is killed, cut off and lied to by its tests.

    spool_driver.py FOLDER SEED [COUNT]

Every line on standard output is one write of one JSON list, made before the act ("try") or when it was acknowledged ("ok") or
refused ("no"):

    ["ready"]
    ["try-accept", id, sum, recipients]          ["ok-accept", id]     ["no-accept", id]
    ["ok-take", id]
    ["try-end", n, id, removed, notice, sum]     ["ok-end", n]         ["no-end", n]

It ends by itself after COUNT acts. It works as on a quick disk with an even SEED, and as on a slow one with an odd one. Beside that it
sends a message as soon as it is committed (docs/adr/0007-cut-through.md): it ends its deliveries before anybody says that it is durable.
"ok-take": its receivers have taken all of it, and its client was told so.
Everything else is derived from SEED and ids, so that a reader can check every octet.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from upesi.config.settings import SpoolSettings
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId, MessageIds
from upesi.mail.route import HostRoute
from upesi.spool import syncer
from upesi.spool.admin import SpoolAdmin
from upesi.spool.records import SHARDS, Completion, Delivery, NewDelivery, NewMessage, SpoolEvent
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError

INLINE = 20_000
_PARALLEL = 12
_ENOUGH = 100


def settings(folder: Path) -> SpoolSettings:
    """Bodies beyond 20 kB are files here, so that both ways are walked often."""
    return SpoolSettings(path=str(folder), min_free=0, inline_limit=INLINE)  # type: ignore[arg-type]


def body_of(id: bytes) -> bytes:
    """Return the body that belongs to message `id`: mostly 4 kB, every eighth a file."""
    size = 60_000 if id[-1] % 8 == 0 else 500 + 16 * id[-2]
    return hashlib.shake_128(id).digest(size)


class Driver:
    """Keeps `_PARALLEL` acts going."""

    def __init__(self, store: SqliteStore, seed: int, count: int) -> None:
        self.store = store
        self.random = random.Random(seed)
        self.left = count
        self.running = 0
        self.group = 0
        self.ours: list[Delivery] = []
        self.ids = MessageIds(time.time, os.urandom)
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def say(self, *line: object) -> None:
        os.write(1, json.dumps(line).encode() + b"\n")

    def message(self, recipients: Sequence[str]) -> tuple[MessageId, str]:
        id = self.ids.next()
        return id, hashlib.sha256(body_of(id)).hexdigest()

    def new(self, id: MessageId, recipients: Sequence[str]) -> NewMessage:
        now = time.time()
        octets = body_of(id)
        writer = self.store.bodies.writer()
        writer.write(octets)
        body = writer.finish() if len(octets) > INLINE and id[-1] % 16 else MemoryBody(octets)
        if isinstance(body, MemoryBody):
            writer.discard()
        half = len(recipients) // 2
        groups = [group for group in (recipients[:half], recipients[half:]) if group]
        deliveries = tuple(self.delivery(group, index) for index, group in enumerate(groups))
        event = SpoolEvent(now, "message.accepted", id, {})
        return NewMessage(id, now, Address("a", "example.com"), Transmission(), b"P", body, deliveries, events=(event,))

    def delivery(self, recipients: Sequence[str], queue: int) -> NewDelivery:
        now = time.time()
        addresses = tuple(Recipient(Address(name, "example.org")) for name in recipients)
        return NewDelivery(f"host:h{queue}:25", HostRoute("127.0.0.1"), addresses, now, now + 999, claim=True)

    def act(self) -> None:
        """Begin one act, unless enough have been begun."""
        if self.left <= 0:
            self.rest()
            return
        self.left -= 1
        self.running += 1
        # about as many as are accepted, and more once there are enough: a spool that grew with every crash would make each check slower
        if self.ours and (self.random.random() < 0.55 or len(self.ours) > _ENOUGH):
            self.end(self.ours.pop(self.random.randrange(len(self.ours))), self.over)
        else:
            self.accept()

    def rest(self) -> None:
        """Have it known once nothing is left to do."""
        if self.left <= 0 and self.running == 0 and not self.ended.done():
            self.ended.set_result(None)

    def over(self) -> None:
        self.running -= 1
        # a refusal must not become a tight loop
        asyncio.get_running_loop().call_soon(self.act)

    def accept(self) -> None:
        recipients = [f"r{n}" for n in range(self.random.choice((1, 1, 2, 5)))]
        id, sum = self.message(recipients)
        self.say("try-accept", id.hex(), sum, recipients)
        sent = False

        def begun(born: Sequence[Delivery]) -> None:
            nonlocal sent
            way = self.random.choice((None, self.end, self.take))
            if way is not None:
                sent = True
                self.running += len(born)
                for delivery in born:
                    way(delivery, self.ended_early)
            if way == self.take:
                self.say("ok-take", id.hex())

        def done(error: SpoolError | None, born: Sequence[Delivery]) -> None:
            self.say("no-accept" if error else "ok-accept", id.hex())
            if not sent:
                self.ours += born
            self.over()

        try:
            self.store.accept(self.new(id, recipients), done, begun)
        except SpoolError as error:
            done(error, ())

    def ended_early(self) -> None:
        """Take note of an end that was no act of its own."""
        self.running -= 1
        self.rest()

    def take(self, delivery: Delivery, over: Callable[[], None]) -> None:
        """End `delivery`, all of which its receiver has taken: nothing follows."""
        names = [recipient.address.local for recipient in delivery.recipients]
        self.complete(delivery, names, (), None, "", over)

    def end(self, delivery: Delivery, over: Callable[[], None]) -> None:
        """End `delivery` in any way: some of its recipients may be tried again, and a notice may follow."""
        names = [recipient.address.local for recipient in delivery.recipients]
        kept = [name for name in names if self.random.random() < 0.3]
        removed = [name for name in names if name not in kept]
        spawn: tuple[NewMessage, ...] = ()
        notice, sum = None, ""
        if removed and self.random.random() < 0.3:
            id, sum = self.message(["r0"])
            notice = id.hex()
            try:
                spawn = (self.new(id, ["r0"]),)
            except SpoolError:
                notice = None
        self.complete(delivery, removed, spawn, notice, sum, over)

    def complete(
        self,
        delivery: Delivery,
        removed: Sequence[str],
        spawn: tuple[NewMessage, ...],
        notice: str | None,
        sum: str,
        over: Callable[[], None],
    ) -> None:
        self.group += 1
        number = self.group
        self.say("try-end", number, delivery.message.hex(), removed, notice, sum)
        names = [recipient.address.local for recipient in delivery.recipients]
        kept = [name for name in names if name not in removed]
        remaining = tuple(self.delivery([name], index) for index, name in enumerate(kept))
        event = SpoolEvent(time.time(), "delivery.ended", delivery.message, {"group": number})

        def done(error: SpoolError | None, applied: bool, born: Sequence[Delivery]) -> None:
            if error is None and not applied:
                self.say("stale", number)
            self.say("no-end" if error else "ok-end", number)
            self.ours += born
            over()

        self.store.complete(Completion(delivery.id, delivery.message, remaining, spawn, (event,)), done)


async def main(folder: Path, seed: int, count: int) -> None:
    """Work until the count is reached; with an odd seed as on a slow disk, whose syncs overlap with commits (`spool.syncer`)."""
    syncer._QUICK = 0.0 if seed % 2 else math.inf
    syncer._OUTRUN = 0.0
    admin = SpoolAdmin.open_or_create(settings(folder))
    epoch = admin.register_member(os.getpid())
    admin.assign(dict.fromkeys(range(SHARDS), epoch))
    store = await SqliteStore.open(folder, epoch, settings(folder), time.time, lambda event, text: None)
    store.set_shards(frozenset(range(SHARDS)))
    driver = Driver(store, seed, count)
    for n in range(4):
        driver.ours += await store.claim(f"host:h{n}:25", time.time(), 1000)
    driver.say("ready")
    for _ in range(_PARALLEL):
        driver.act()
    await driver.ended
    await store.close()
    admin.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 10**9))
