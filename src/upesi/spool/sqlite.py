"""The spool of one worker on SQLite: `spool.store.Store` over a writer thread, a reader thread and a keeper.

`accept`, `complete` and `release` encode their rows on the event loop and hand them to the writer (`committer`). Questions go
to the reader, one at a time, in order. The folder, its lock, members and shards are the supervisor's (`admin`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import msgspec

from upesi.config.settings import SpoolSettings
from upesi.database.errors import DatabaseCorrupt, DatabaseError, DatabaseIoError
from upesi.database.sqlite import Database, Sync
from upesi.mail.ids import MessageId
from upesi.spool import queries
from upesi.spool.batch import Accept, Barrier, Claim, Complete, Item, Operation, Release
from upesi.spool.bodies import BodyFolder
from upesi.spool.body_file import FileBody
from upesi.spool.committer import Committer, Died, Notice
from upesi.spool.failures import spool_error
from upesi.spool.folder import FolderLock, join_members
from upesi.spool.keeper import Keeper
from upesi.spool.queries import Candidates
from upesi.spool.records import (
    Completion,
    Delivery,
    DeliveryState,
    NewDelivery,
    NewMessage,
    QueueHead,
    StoredMessage,
    shard_of,
)
from upesi.spool.rows import DeliveryRow, UnknownFormat, delivery_row, event_row, message_row, sender_of
from upesi.spool.schema import DATABASE_NAME, check_version
from upesi.spool.setback import Setback
from upesi.spool.store import AcceptDone, Begun, CompleteDone, SpoolDamaged, SpoolError
from upesi.spool.sweep import Sweep
from upesi.spool.tally import Tally

__all__ = ["SqliteStore"]

Result = TypeVar("Result")

# delivery ids are epoch << 40 | counter: a member would need 35 years at a thousand a second to run out
_COUNTER_BITS = 40

# asked for every recipient of every message; the answer is a checksum of the name
_OWNED_CACHE = 10_000

# what cannot be encoded fails in the caller's hands: wrong types, integers beyond 64 bits, text that is no Unicode
_ENCODING = (TypeError, ValueError, OverflowError, AttributeError, msgspec.MsgspecError)


def _log(event: str, text: str) -> None:
    logging.getLogger("upesi.spool").error("%s: %s", event, text)


class SqliteStore:
    """`Store` on one SQLite database that the machine's workers share. Make it with `open`."""

    def __init__(
        self,
        folder: Path,
        epoch: int,
        settings: SpoolSettings,
        now: Callable[[], float],
        notice: Notice,
        sync: Sync,
        died: Died,
    ) -> None:
        path = folder / DATABASE_NAME
        self._path = path
        self._epoch = epoch
        self._now = now
        self._notice = notice
        self._number = epoch << _COUNTER_BITS
        self._shards: frozenset[int] = frozenset()
        self._owned: dict[str, bool] = {}
        self._inline_limit = int(settings.inline_limit)
        self.bodies = BodyFolder(folder, self._inline_limit)
        self._loop = asyncio.get_running_loop()
        self._committer = Committer(path, epoch, self.bodies, self._loop, notice, sync, died)
        sweep = Sweep(epoch, self.bodies, now, notice)
        setback = Setback(epoch, now, time.monotonic, notice)
        self._keeper = Keeper(path, int(settings.min_free), float(settings.history), now, notice, sweep, setback)
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._reader: Database | None = None
        self._membership: FolderLock | None = None

    @classmethod
    async def open(
        cls,
        folder: Path,
        epoch: int,
        settings: SpoolSettings,
        now: Callable[[], float],
        notice: Notice = _log,
        sync: Sync = Sync.CALLER,
        died: Died = lambda error: None,
    ) -> SqliteStore:
        """Open the spool in `folder`, which exists already, as the member `epoch` (`SpoolAdmin.register_member`).

        `now` is wall-clock seconds; `notice(event, text)` is called, on any thread, for what an operator should hear of. `died` is called
        on the loop if the writer has ended by an error: the worker must end too (QUEUE.md, Accept). Raises SpoolError.
        """
        store = cls(folder, epoch, settings, now, notice, sync, died)
        try:
            await store._loop.run_in_executor(store._reading, store._start)
        except BaseException:
            store._reading.shutdown(wait=False)
            raise
        return store

    def _start(self) -> None:
        self._membership = join_members(self._path.parent)
        try:
            database = self._connection()
            check_version(database)
            if not database.rows("SELECT 1 FROM member WHERE epoch = ?", self._epoch):
                raise SpoolError(f"epoch {self._epoch} is not a member of {self._path}")
            self._committer.start()
        except DatabaseError as error:
            raise spool_error(error) from error
        self._keeper.start()

    # what is known without asking

    @property
    def epoch(self) -> int:
        """This member's epoch."""
        return self._epoch

    def owns(self, queue: str) -> bool:
        """Whether the shard of `queue` is ours, as far as we were last told."""
        owned = self._owned.get(queue)
        if owned is None:
            if len(self._owned) >= _OWNED_CACHE:
                self._owned.clear()
            owned = self._owned[queue] = shard_of(queue) in self._shards
        return owned

    def set_shards(self, shards: frozenset[int]) -> None:
        """Take note of the shards that the supervisor gave us."""
        self._shards = shards
        self._owned.clear()

    def full(self) -> bool:
        """Whether new mail is refused with 452 now."""
        return self._keeper.full

    # grouped writes

    def accept(self, message: NewMessage, done: AcceptDone, begun: Begun | None = None) -> None:
        """Make `message` durable, then call `done`. One bad message fails alone. `begun` is called where the disk is slow."""
        try:
            item = self._accepting(message, done, begun)
        except _ENCODING as error:
            self._refuse(done, SpoolError(f"message cannot be stored: {type(error).__name__}: {error}"), ())
        except SpoolError as error:
            self._refuse(done, error, ())
        else:
            self._keeper.take(item.lent[1])
            self._committer.submit(item)

    def complete(self, completion: Completion, done: CompleteDone) -> None:
        """Record the end of an attempt, then call `done`."""
        try:
            remaining = [self._row(new) for new in completion.remaining]
            spawn = [self._accepting(message, None) for message in completion.spawn]
            item = Complete(completion, remaining, spawn, [event_row(event) for event in completion.events], done)
        except _ENCODING as error:
            self._refuse(done, SpoolError(f"completion cannot be stored: {type(error).__name__}: {error}"), False, ())
        except SpoolError as error:
            self._refuse(done, error, False, ())
        else:
            self._committer.submit(item)

    def release(self, deliveries: Sequence[int]) -> None:
        """Give back ACTIVE deliveries that were not attempted."""
        if deliveries:
            self._committer.submit(Release(tuple(deliveries)))

    def _refuse(self, done: Callable[..., None], *news: object) -> None:
        # never from inside the call: callers rely on `done` coming later
        self._loop.call_soon(done, *news)

    def _accepting(self, message: NewMessage, done: AcceptDone | None, begun: Begun | None = None) -> Accept:
        body = message.body
        rows = [self._row(new) for new in message.deliveries]
        if not rows:
            raise ValueError("a message without deliveries")
        size = len(message.prefix) + body.size
        if body.size > self._inline_limit:
            sum = body.sum if isinstance(body, FileBody) else _sum(body.chunks())
            row = message_row(rows[0].id, message, None, sum)
            file = body
        else:
            data = body.read(0, body.size)
            row = message_row(rows[0].id, message, data, crc32(data))
            file = None
        lent = (message.received, size, int(file is not None), sender_of(message))
        return Accept(message.id, row, file, rows, [event_row(event) for event in message.events], lent, done, begun)

    def _row(self, new: NewDelivery) -> DeliveryRow:
        self._number += 1
        if new.held:
            return delivery_row(self._number, new, DeliveryState.HELD)
        born_active = new.claim and new.state is not DeliveryState.HELD and self.owns(new.queue)
        state = DeliveryState.ACTIVE if born_active else new.state
        return delivery_row(self._number, new, state)

    # questions

    async def heads(self, now: float, limit: int) -> list[QueueHead]:
        """Return queues of our shards with something due at `now`, most overdue first."""
        shards = tuple(self._shards)
        return await self._ask(lambda database: queries.heads(database, shards, now, limit))

    async def next_due(self) -> float | None:
        """Return when the first delivery of our shards becomes due."""
        shards = tuple(self._shards)
        return await self._ask(lambda database: queries.first_due(database, shards))

    async def claim(self, queue: str, now: float, limit: int) -> list[Delivery]:
        """Make up to `limit` due deliveries of `queue` ACTIVE under our epoch and return them, earliest due first."""
        found = await self._ask(lambda database: queries.candidates(database, queue, now, limit))
        for _, reason in found.unknown[:1]:
            self._notice(
                "spool.unknown_format", f"{len(found.unknown)} deliveries of {queue} wait for a newer program: {reason}"
            )
        self._tell_damaged(found)

        def act(database: Database, tally: Tally) -> set[int]:
            self._set_aside(database, tally, found)
            if found.unknown:
                queries.postpone(
                    database, tally, queue, [number for number, _ in found.unknown], now + queries.UNKNOWN_WAIT
                )
            ids = [delivery.id for delivery in found.deliveries]
            return queries.claim(database, tally, queue, ids, self._epoch, found.alone)

        claimed: set[int] = await self._operate(act, Claim)
        return _active(found.deliveries, claimed)

    async def claim_expired(self, queues: Collection[str], now: float, limit: int) -> list[Delivery]:
        """Make up to `limit` waiting deliveries of `queues` whose time was over at `now` ACTIVE under our epoch; return them."""
        owned = [queue for queue in queues if self.owns(queue)]
        found = await self._ask(lambda database: queries.overdue(database, owned, now, limit))
        if not found.deliveries and not found.damaged:
            return []
        self._tell_damaged(found)
        by_queue: dict[str, list[int]] = {}
        for delivery in found.deliveries:
            by_queue.setdefault(delivery.queue, []).append(delivery.id)

        def act(database: Database, tally: Tally) -> set[int]:
            self._set_aside(database, tally, found)
            claims = [queries.claim(database, tally, queue, ids, self._epoch) for queue, ids in by_queue.items()]
            return set().union(*claims)

        claimed: set[int] = await self._operate(act, Claim)
        return _active(found.deliveries, claimed)

    def _tell_damaged(self, found: Candidates) -> None:
        for number, reason in found.damaged:
            self._notice("spool.damaged", f"delivery {number}: {reason}")

    def _set_aside(self, database: Database, tally: Tally, found: Candidates) -> None:
        for number, reason in found.damaged:
            queries.quarantine_delivery(database, tally, number, reason, self._now())

    async def load(self, message: MessageId) -> StoredMessage | None:
        """Read a message for delivery; None if it has gone. Raise SpoolDamaged after quarantining what failed its checksum."""
        try:
            return await self._ask(lambda database: queries.load(database, self.bodies, message))
        except (UnknownFormat, SpoolDamaged) as error:
            raise await self._unreadable(message, error) from error

    async def load_many(self, wanted: Sequence[tuple[int, MessageId]]) -> list[StoredMessage | SpoolError | None]:
        """Read the messages of these deliveries; what `load` would raise for one stands in its place."""
        found = await self._ask(lambda database: queries.load_many(database, self.bodies, wanted))
        results: list[StoredMessage | SpoolError | None] = []
        for (_, message), each in zip(wanted, found, strict=True):
            if isinstance(each, (UnknownFormat, SpoolDamaged)):
                results.append(await self._unreadable(message, each))
            else:
                results.append(each)
        return results

    async def kept(self, message: MessageId) -> bool:
        """Whether `message` was ever accepted by any member; durable then. Raise SpoolError."""
        if not await self._ask(lambda database: queries.is_known(database, message)):
            return False
        # whoever wrote it may have died before it was synced: our own sync covers what lies before it in the log
        await self._operate(lambda database, tally: None, Barrier)
        return True

    async def _unreadable(self, message: MessageId, error: UnknownFormat | SpoolDamaged) -> SpoolError:
        """Put what is damaged in quarantine, leave what is unknown alone, loudly; return the error to raise."""
        if isinstance(error, UnknownFormat):
            text = f"message {message.hex()} is of a format that this program does not know: {error}"
            self._notice("spool.unknown_format", text)
            return SpoolError(text)
        reason = str(error)
        self._notice("spool.damaged", f"message {message.hex()}: {reason}")
        await self._operate(
            lambda database, tally: queries.quarantine_message(database, tally, message, reason, self._now())
        )
        return error

    async def _ask(self, question: Callable[[Database], Result]) -> Result:
        return await self._loop.run_in_executor(self._reading, self._answer, question)

    def _answer(self, question: Callable[[Database], Result]) -> Result:
        try:
            return question(self._connection())
        except DatabaseCorrupt as error:
            raise SpoolDamaged(str(error)) from error
        except DatabaseError as error:
            if isinstance(error, DatabaseIoError):
                self._forget()
            raise spool_error(error) from error

    def _connection(self) -> Database:
        if self._reader is None:
            self._reader = Database.open(self._path)
        return self._reader

    def _forget(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    async def _operate(
        self, act: Callable[[Database, Tally], Result], kind: type[Operation[Result]] = Operation
    ) -> Result:
        future: asyncio.Future[Result] = self._loop.create_future()

        def done(error: SpoolError | None, result: Result | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        item: Item = kind(act, done)
        self._committer.submit(item)
        return await future

    async def close(self) -> None:
        """Finish the writes that were handed in, and let go."""
        self._committer.stop()
        await self._loop.run_in_executor(self._reading, self._stop)
        self._reading.shutdown(wait=True)
        # the news of the last batch was put on the loop by the writer's thread; let it be told before we say that all is done
        await asyncio.sleep(0)

    def _stop(self) -> None:
        self._committer.close()
        self._keeper.close()
        self._forget()
        if self._membership is not None:
            self._membership.close()


def _active(found: Sequence[Delivery], claimed: Collection[int]) -> list[Delivery]:
    return [msgspec.structs.replace(each, state=DeliveryState.ACTIVE) for each in found if each.id in claimed]


def _sum(pieces: Iterable[bytes]) -> int:
    found = 0
    for piece in pieces:
        found = crc32(piece, found)
    return found
