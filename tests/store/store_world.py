"""The suite that every engine of the spool passes. An engine is added by adding it to ENGINES."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from upesi.config.settings import SpoolSettings
from upesi.mail.address import Address
from upesi.mail.body import Body, MemoryBody
from upesi.mail.envelope import Notify, Recipient, Transmission
from upesi.mail.ids import MessageId, MessageIds
from upesi.mail.route import HostRoute
from upesi.spool.admin import SpoolAdmin
from upesi.spool.records import SHARDS, Completion, Delivery, NewDelivery, NewMessage, SpoolEvent
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError

QUEUE = "host:127.0.0.1:2525"
ALL_SHARDS = frozenset(range(SHARDS))


class Clock:
    """Wall-clock time that moves only when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class SqliteEngine:
    """A spool in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.settings = SpoolSettings(path=str(folder / "spool"), min_free=0)
        self.admin = SpoolAdmin.open_or_create(self.settings, now=self.clock)
        self.stores: list[SqliteStore] = []
        self.notices: list[tuple[str, str]] = []
        counter = itertools.count(1)
        self._ids = MessageIds(self.clock, lambda n: next(counter).to_bytes(n, "big") if n > 1 else b"\0")

    @property
    def folder(self) -> Path:
        return Path(self.settings.path)

    async def worker(self, shards: frozenset[int] = ALL_SHARDS) -> SqliteStore:
        """Start a member that owns `shards`."""
        epoch = self.admin.register_member(1)
        self.admin.assign(dict.fromkeys(shards, epoch))
        store = await SqliteStore.open(
            self.folder, epoch, self.settings, self.clock, lambda event, text: self.notices.append((event, text))
        )
        store.set_shards(shards)
        self.stores.append(store)
        return store

    async def restart(self) -> SqliteStore:
        """End everything, recover, and start one member again."""
        await self.close()
        self.admin = SpoolAdmin.open_or_create(self.settings, now=self.clock)
        return await self.worker()

    async def close(self) -> None:
        for store in self.stores:
            await store.close()
        self.stores.clear()
        self.admin.close()

    def message(
        self,
        *deliveries: NewDelivery,
        body: Body | bytes = b"Subject: x\r\n\r\nhello\r\n",
        sender: str | None = "alice@example.com",
    ) -> NewMessage:
        """Make a message; without `deliveries` it has one, due now and claimed."""
        id = self._ids.next()
        return NewMessage(
            id, self.clock.now, Address.parse(sender) if sender else None, Transmission(smtputf8=True, envid="e1"), b"Received: here\r\n",
            MemoryBody(body) if isinstance(body, bytes) else body, deliveries or (self.delivery(claim=True),), {"client": "192.0.2.1"},
            {"plugin": b"\0note"}, (SpoolEvent(self.clock.now, "message.accepted", id, {"size": 7}),),
        )  # fmt: skip

    def delivery(
        self, queue: str = QUEUE, *, to: Sequence[str] = ("bob@example.org",), due: float = 0.0, **rest: object
    ) -> NewDelivery:
        recipients = tuple(
            Recipient(Address.parse(each), "rfc822;orig@example.net", int(Notify.FAILURE)) for each in to
        )
        values: dict[str, object] = {"due": self.clock.now + due, "expires": self.clock.now + 432_000.0, **rest}
        return NewDelivery(queue, HostRoute("127.0.0.1", 2525), recipients, **values)  # type: ignore[arg-type]


ENGINES: dict[str, Callable[[Path], SqliteEngine]] = {"sqlite": SqliteEngine}


@pytest.fixture(params=sorted(ENGINES))
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    made = ENGINES[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def store(engine: SqliteEngine) -> SqliteStore:
    return await engine.worker()


async def accept(store: SqliteStore, message: NewMessage) -> Sequence[Delivery]:
    """Accept and wait; raise what was answered."""
    future: asyncio.Future[Sequence[Delivery]] = asyncio.get_running_loop().create_future()

    def done(error: SpoolError | None, born: Sequence[Delivery]) -> None:
        future.set_exception(error) if error else future.set_result(born)

    store.accept(message, done)
    return await future


async def complete(store: SqliteStore, completion: Completion) -> tuple[bool, Sequence[Delivery]]:
    """Complete and wait; raise what was answered."""
    future: asyncio.Future[tuple[bool, Sequence[Delivery]]] = asyncio.get_running_loop().create_future()

    def done(error: SpoolError | None, applied: bool, born: Sequence[Delivery]) -> None:
        future.set_exception(error) if error else future.set_result((applied, born))

    store.complete(completion, done)
    return await future


async def settled(store: SqliteStore) -> None:
    """Wait until what was handed in before has been written (a claim of an empty queue is written behind it)."""
    await store.claim("settled:", 0.0, 1)


def ids(deliveries: Sequence[Delivery]) -> list[MessageId]:
    return [delivery.message for delivery in deliveries]
