"""A sync that fails: the batch is refused, taken back, and the next one goes through without a restart (STO-04)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "store"))
from store_world import QUEUE, SqliteEngine, accept, complete

from upesi.database.errors import DatabaseCorrupt, DatabaseFull
from upesi.database.sqlite import Database
from upesi.spool.admin import Selector
from upesi.spool.batch import Complete, Item
from upesi.spool.ledger import Ledger
from upesi.spool.records import Completion, Delivery
from upesi.spool.sqlite import SqliteStore
from upesi.spool.store import SpoolError, SpoolFull
from upesi.spool.syncer import SYNCERS

ELSEWHERE = "host:other:25"
QUICK, SLOW = "a quick disk", "a slow disk"


class Disk:
    """Fails the next `failures` syncs of the log with `error`, behind the `spared` next ones."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self.spared = 0
        self.error: BaseException = OSError(5, "Input/output error")
        self.count = 0
        self._asked = threading.Condition()
        self._free = threading.Event()
        self._free.set()
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, descriptor: int) -> None:
        with self._asked:
            self.count += 1
            self._asked.notify_all()
        self._free.wait(60)
        if self.spared:
            self.spared -= 1
        elif self.failures:
            self.failures -= 1
            raise self.error
        self._real(descriptor)

    def asked_beyond(self, before: int) -> bool:
        """Wait until there was one sync more than `before`; return whether there was."""
        with self._asked:
            return self._asked.wait_for(lambda: self.count > before, 60)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no sync end meanwhile."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    made = SqliteEngine(tmp_path)
    yield made
    await made.close()


@pytest.fixture(params=[QUICK, SLOW])
async def store(request: pytest.FixtureRequest, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """One worker that found its disk quick, and so syncs on the writer's thread, or slow, and so does it on others, however busy we are."""
    monkeypatch.setattr("upesi.spool.syncer._QUICK", 0.0 if request.param == SLOW else math.inf)
    monkeypatch.setattr("upesi.spool.syncer._IN_A_ROW", 1)
    monkeypatch.setattr("upesi.spool.syncer._OUTRUN", 0.0)
    made = await engine.worker()
    message = engine.message()
    (born,) = await accept(made, message)
    await complete(made, Completion(born.id, message.id))
    return made


quick_only = pytest.mark.parametrize("store", [QUICK], indirect=True)
slow_only = pytest.mark.parametrize("store", [SLOW], indirect=True)


async def test_a_refused_message_is_taken_back_whole(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """A message that was answered 451 because its sync failed is not there afterwards: body, deliveries, events, counts."""
    refused = engine.message(body=os.urandom(200_000))
    disk.failures = 1
    with pytest.raises(SpoolError):
        await accept(store, refused)
    good = engine.message()
    await accept(store, good)
    assert await store.load(refused.id) is None
    assert not store.bodies.path(refused.id).exists()
    assert engine.admin.trace(refused.id.hex()) == []
    assert [(queue.active, queue.ready) for queue in engine.admin.summary()] == [(1, 0)]
    assert "spool.mended" in [event for event, _ in engine.notices]


async def test_the_whole_batch_is_refused(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """No member of a batch is acknowledged before the shared sync returned, and none if it failed (STO-15)."""
    disk.failures = 3
    results = await asyncio.gather(*(accept(store, engine.message()) for _ in range(30)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, SpoolError)]
    assert len(refused) >= 29
    disk.failures = 0
    await accept(store, engine.message())
    assert engine.admin.count(Selector()) == 31 - len(refused)


async def test_nothing_is_acknowledged_while_every_sync_fails(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """A disk that does not come back gets nothing but errors; when it does, mail is taken again."""
    disk.failures = 1000
    for _ in range(5):
        with pytest.raises(SpoolError):
            await accept(store, engine.message())
    disk.failures = 0
    await accept(store, engine.message())
    assert engine.admin.count(Selector()) == 1


async def test_a_failed_sync_of_one_worker_stops_the_other(engine: SqliteEngine, disk: Disk) -> None:
    """Behind a hole in the log nobody's commit is durable: the other worker mends first."""
    one, two = await engine.worker(), await engine.worker(frozenset())
    disk.failures = 1
    with pytest.raises(SpoolError):
        await accept(one, engine.message())
    with pytest.raises(SpoolError):
        await accept(two, engine.message())
    await accept(two, engine.message())
    assert "spool.mended" in [event for event, _ in engine.notices]


async def test_what_follows_from_a_refused_end_waits(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """An attempt that did end stays ended; what should have been handed over with it is not lost in nobody's hands."""
    message = engine.message()
    (born,) = await accept(store, message)
    disk.failures = 1
    with pytest.raises(SpoolError):
        await complete(store, Completion(born.id, message.id, (engine.delivery(claim=True, attempts=1),)))
    await accept(store, engine.message(engine.delivery(ELSEWHERE)))
    (again,) = await store.claim(QUEUE, engine.clock.now, 10)
    assert (again.message, again.attempts) == (message.id, 1)


@slow_only
async def test_what_a_refused_claim_took_is_given_back(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """A claim beside a message whose sync fails is answered with an error; the deliveries are not lost in nobody's hands."""
    waiting = engine.message(engine.delivery(claim=False))
    await accept(store, waiting)
    with disk.held():
        told: list[asyncio.Future[object]] = list(await _occupied(engine, store, disk))
        disk.failures = 1000
        told.append(asyncio.ensure_future(store.claim(QUEUE, engine.clock.now, 10)))
        await _seen(lambda: [queue.active for queue in engine.admin.summary() if queue.queue == QUEUE] == [1])
        # in the same sync as the claim
        told.append(_handed_in(engine, store))
        await _seen(partial(_holds, engine, SYNCERS + 2))
    async with asyncio.timeout(60):
        results = await asyncio.gather(*told, return_exceptions=True)
    assert [type(result) for result in results] == [SpoolError] * (SYNCERS + 2)
    disk.failures = 0
    await accept(store, engine.message(engine.delivery(ELSEWHERE)))
    (again,) = await store.claim(QUEUE, engine.clock.now, 10)
    assert again.message == waiting.id


@slow_only
async def test_the_next_commit_does_not_wait_for_the_sync(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """While the disk works the next batches are committed; nobody is told before a sync that began behind the commit."""
    before = disk.count
    with disk.held():
        told = await _occupied(engine, store, disk)
        for number in (SYNCERS + 1, SYNCERS + 2):
            told.append(_handed_in(engine, store))
            await _seen(partial(_holds, engine, number))
        assert not any(future.done() for future in told)
    async with asyncio.timeout(60):
        await asyncio.gather(*told)
    # the last two shared one, or had one each
    assert SYNCERS < disk.count - before <= SYNCERS + 2


@slow_only
async def test_what_waits_for_its_sync_may_be_sent_meanwhile(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """`begun` comes behind the commit and before the sync, with what is ours; an end that is written then lies behind it in the log."""
    message = engine.message()
    said: list[object] = []
    ended: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def begun(born: Sequence[Delivery]) -> None:
        said.append([each.message for each in born])
        store.complete(Completion(born[0].id, message.id), lambda error, applied, born: ended.set_result(applied))

    with disk.held():
        store.accept(message, lambda error, born: said.append(error), begun)
        await _seen(lambda: bool(said))
        assert said == [[message.id]]
        # the message has come and gone before anybody synced it
        await _seen(partial(_holds, engine, 0))
        assert not ended.done()
    async with asyncio.timeout(60):
        assert await ended
        while len(said) < 2:  # noqa: ASYNC110 -- the two were synced by two threads, in any order
            await asyncio.sleep(0.001)
    assert said == [[message.id], None]


@slow_only
async def test_what_was_begun_is_taken_back_with_a_failed_sync(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """Whoever sends it has been told of it twice then: the row is gone, and its end changes nothing."""
    message = engine.message()
    begun: list[Delivery] = []
    before = disk.count
    with disk.held():
        told: asyncio.Future[SpoolError | None] = asyncio.get_running_loop().create_future()
        store.accept(message, lambda error, born: told.set_result(error), begun.extend)
        await _busy(disk, before)
        disk.failures = 1
    async with asyncio.timeout(60):
        assert isinstance(await told, SpoolError)
    assert [each.message for each in begun] == [message.id]
    await accept(store, engine.message(engine.delivery(ELSEWHERE)))
    assert await store.load(message.id) is None
    assert (await complete(store, Completion(begun[0].id, message.id)))[0] is False


@quick_only
async def test_on_a_quick_disk_nothing_is_sent_before_it_is_durable(engine: SqliteEngine, store: SqliteStore) -> None:
    """A call more would cost more than the sync does."""
    said: list[object] = []
    told: asyncio.Future[SpoolError | None] = asyncio.get_running_loop().create_future()
    store.accept(engine.message(), lambda error, born: told.set_result(error), said.append)
    assert await told is None
    assert said == []


@slow_only
async def test_a_failed_sync_refuses_what_was_committed_behind_it(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """Behind a hole in the log nothing is durable, though its own sync succeeds: all of it is refused and taken back."""
    with _all_failing(disk):
        refused = await _occupied_and_one_behind(engine, store, disk)
    await _all_refused(refused)
    assert disk.failures == 0
    await accept(store, engine.message())
    assert engine.admin.count(Selector()) == 1
    assert [(queue.active, queue.ready) for queue in engine.admin.summary()] == [(1, 0)]


@slow_only
async def test_a_failed_sync_is_known_where_no_mark_can_be_made(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room and no descriptor for the mark: what is behind the hole is refused all the same, and the log is mended first."""
    monkeypatch.setattr("upesi.database.wal.WalState.mark_suspect", lambda state: None)
    with _all_failing(disk):
        refused = await _occupied_and_one_behind(engine, store, disk)
    await _all_refused(refused)
    await accept(store, engine.message())
    assert "spool.mended" in [event for event, _ in engine.notices]
    assert engine.admin.count(Selector()) == 1


@slow_only
async def test_what_was_claimed_of_a_refused_end_is_not_claimed_twice(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """What remains waits, is claimed and told while the sync of the end is under way: when that fails, it stays with whoever has it."""
    message = engine.message()
    (born,) = await accept(store, message)
    before = disk.count
    with disk.held():
        end = Completion(born.id, message.id, (engine.delivery(attempts=1),))
        ending = asyncio.ensure_future(complete(store, end))
        await _busy(disk, before)
        async with asyncio.timeout(60):
            (ours,) = await store.claim(QUEUE, engine.clock.now, 10)
        disk.failures = 1
    with pytest.raises(SpoolError):
        await ending
    await accept(store, engine.message(engine.delivery(ELSEWHERE)))
    assert await store.claim(QUEUE, engine.clock.now, 10) == []
    assert ours.message == message.id


@slow_only
async def test_a_refused_message_that_we_were_given_stays_with_us(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """One delivery was claimed and told while the sync was under way: it goes on, and what nobody was told of can be claimed."""
    message = engine.message(engine.delivery(claim=True), engine.delivery(ELSEWHERE))
    before = disk.count
    with disk.held():
        accepting = asyncio.ensure_future(accept(store, message))
        await _busy(disk, before)
        async with asyncio.timeout(60):
            (ours,) = await store.claim(ELSEWHERE, engine.clock.now, 10)
        disk.failures = 1
    with pytest.raises(SpoolError):
        await accepting
    await accept(store, engine.message())
    assert await store.load(message.id) is not None
    assert (await complete(store, Completion(ours.id, message.id)))[0]
    (other,) = await store.claim(QUEUE, engine.clock.now, 10)
    assert other.message == message.id


async def test_what_is_refused_last_is_taken_back_at_the_end(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """Nobody commits behind it any more, but its client was told to try again."""
    disk.failures = 1
    with pytest.raises(SpoolError):
        await accept(store, engine.message())
    await engine.restart()
    assert engine.admin.count(Selector()) == 0


async def test_a_mistake_of_ours_is_answered_and_taken_back(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug behind the sync refuses what it was for, is told of, and does not end the spool."""

    def fails(ledger: Ledger, items: object) -> None:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "finish", fails)
        async with asyncio.timeout(60):
            with pytest.raises(SpoolError):
                await accept(store, engine.message())
    await accept(store, engine.message())
    assert ("spool.failed", "ZeroDivisionError: a bug") in engine.notices
    assert engine.admin.count(Selector()) == 1


@slow_only
async def test_whoever_waits_for_threads_that_died_is_answered(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """No thread is left for what was committed behind: it is refused when the worker ends, not left waiting."""
    disk.error = SystemExit(3)
    with _all_failing(disk):
        told = await _occupied_and_one_behind(engine, store, disk)
    async with asyncio.timeout(60):
        await asyncio.wait(told[:SYNCERS])
        await store.close()
    await _all_refused(told)
    engine.stores.remove(store)


async def test_nothing_is_taken_behind_the_end(engine: SqliteEngine, store: SqliteStore) -> None:
    """Once `close` was called, nothing is handed to a writer that may have looked for the last time."""
    held = threading.Event()
    asking = asyncio.ensure_future(store._ask(lambda database: held.wait(60)))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    with pytest.raises(SpoolError, match="closed"):
        await accept(store, engine.message())
    held.set()
    await asyncio.gather(asking, closing)
    engine.stores.remove(store)


LARGE = os.urandom(200_000)


async def test_a_body_goes_though_the_end_of_its_message_was_refused(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """The message is gone with the commit; its file follows once that is durable."""
    message = engine.message(body=LARGE)
    (born,) = await accept(store, message)
    disk.failures = 1
    with pytest.raises(SpoolError):
        await complete(store, Completion(born.id, message.id))
    assert store.bodies.path(message.id).exists()
    await accept(store, engine.message())
    assert not store.bodies.path(message.id).exists()


async def test_a_body_goes_though_taking_back_was_not_durable_at_first(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """The sync behind the undoing fails as well: the next one that does not removes the file."""
    message = engine.message(body=LARGE)
    disk.failures = 1
    with pytest.raises(SpoolError):
        await accept(store, message)
    # the one that mends
    disk.spared, disk.failures = 1, 1
    with pytest.raises(SpoolError):
        await accept(store, engine.message())
    assert store.bodies.path(message.id).exists()
    await accept(store, engine.message())
    assert not store.bodies.path(message.id).exists()


async def test_a_message_that_fails_alone_leaves_no_body(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """Its neighbours are written, its row is not, and so its file goes."""
    bad = engine.message(engine.delivery(attempts=2**70), body=LARGE)
    with pytest.raises(SpoolError):
        await accept(store, bad)
    assert not store.bodies.path(bad.id).exists()


async def test_a_report_keeps_its_body_when_its_commit_is_offered_again(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first offer was refused but could not be taken back, the second finds no room: the file belongs to the first."""
    message, report = engine.message(), engine.message(engine.delivery(ELSEWHERE), body=LARGE)
    (born,) = await accept(store, message)
    disk.failures = 1
    with pytest.raises(SpoolError):
        await complete(store, Completion(born.id, message.id, (), (report,)))

    def full(ledger: Ledger, database: object, items: object) -> None:
        raise DatabaseFull("no room")

    with monkeypatch.context() as narrow:
        narrow.setattr(Ledger, "apply", full)
        with pytest.raises(SpoolFull):
            await complete(store, Completion(born.id, message.id, (), (report,)))
    stored = await store.load(report.id)
    assert stored is not None
    assert b"".join(stored.body.chunks()) == LARGE


async def test_a_file_stays_where_the_commit_itself_failed(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log may have it although COMMIT said no (no room for the index in shared memory): the next recovery finds the rows."""
    message, report = engine.message(), engine.message(engine.delivery(ELSEWHERE), body=LARGE)
    (born,) = await accept(store, message)
    real = Database.run

    def full(database: Database, sql: str, *values: object) -> None:
        real(database, sql, *values)  # type: ignore[arg-type]
        if sql == "COMMIT":
            raise DatabaseFull("no room for the index")

    with monkeypatch.context() as narrow:
        narrow.setattr(Database, "run", full)
        with pytest.raises(SpoolFull):
            await complete(store, Completion(born.id, message.id, (), (report,)))
    again = await engine.restart()
    assert await again.load(message.id) is None
    stored = await again.load(report.id)
    assert stored is not None
    assert b"".join(stored.body.chunks()) == LARGE


async def test_a_body_that_is_not_durable_leaves_no_file(
    engine: SqliteEngine, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder cannot be synced: the message is refused, and its file does not fill the disk until the next start."""

    def fails(path: Path) -> None:
        raise OSError(5, "Input/output error")

    message = engine.message(body=LARGE)
    with monkeypatch.context() as broken:
        broken.setattr("upesi.spool.bodies.sync_folder", fails)
        with pytest.raises(SpoolError):
            await accept(store, message)
    assert not store.bodies.path(message.id).exists()


async def test_what_cannot_be_taken_back_does_not_stop_the_rest(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged page in the way of the undoing: it is told of, and mail is taken again; it would be damaged for ever."""

    def damaged(*rest: object) -> None:
        raise DatabaseCorrupt("a page")

    monkeypatch.setattr("upesi.spool.committer.undo", damaged)
    disk.failures = 1
    with pytest.raises(SpoolError):
        await accept(store, engine.message())
    await accept(store, engine.message())
    assert ("spool.not_undone", "DatabaseCorrupt: a page") in engine.notices


async def test_a_notice_that_fails_changes_no_answer(
    engine: SqliteEngine, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever handed something in is told once, whatever becomes of the news for the operator."""

    def fails(*rest: object) -> None:
        raise ZeroDivisionError("a bug")

    told: list[SpoolError | None] = []
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "finish", fails)
        engine.notices = _Failing()
        store.accept(engine.message(), lambda error, born: told.append(error))
        await _seen(lambda: bool(told))
    engine.notices = []
    await accept(store, engine.message())
    assert [type(error) for error in told] == [SpoolError]


class _Failing(list[tuple[str, str]]):
    """Notices that cannot be taken."""

    def append(self, notice: tuple[str, str]) -> None:
        raise ZeroDivisionError("a bug")


async def test_a_report_of_an_end_that_was_not_ours_leaves_no_body(engine: SqliteEngine, store: SqliteStore) -> None:
    """Another has ended the attempt: its record stands, and the file of our report goes."""
    message, report = engine.message(), engine.message(body=LARGE)
    (born,) = await accept(store, message)
    await complete(store, Completion(born.id, message.id))
    assert await complete(store, Completion(born.id, message.id, (), (report,))) == (False, [])
    assert not store.bodies.path(report.id).exists()


@slow_only
async def test_one_of_several_syncs_fails(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """Whoever was acknowledged beside it stays, whoever was refused goes, whichever of the threads it was."""
    with disk.held():
        told = await _occupied(engine, store, disk)
        disk.failures = 1
    async with asyncio.timeout(60):
        results = await asyncio.gather(*told, return_exceptions=True)
    refused = [result for result in results if isinstance(result, SpoolError)]
    assert refused
    await accept(store, engine.message())
    assert engine.admin.count(Selector()) == SYNCERS - len(refused) + 1


@slow_only
async def test_close_waits_for_the_sync_of_what_was_committed(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> None:
    """Who was taken in before the end is told how it ended."""
    with disk.held():
        told = await _occupied(engine, store, disk)
        closing = asyncio.ensure_future(engine.restart())
        assert not (await asyncio.wait([closing], timeout=0.05))[0]
    async with asyncio.timeout(60):
        await asyncio.gather(closing, *told)


def _handed_in(engine: SqliteEngine, store: SqliteStore) -> asyncio.Future[object]:
    return asyncio.ensure_future(accept(store, engine.message(engine.delivery(ELSEWHERE))))


async def _occupied(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> list[asyncio.Future[object]]:
    """Hand in a message for each syncer, so that each waits for a disk that is held."""
    told = []
    for _ in range(SYNCERS):
        before = disk.count
        told.append(_handed_in(engine, store))
        await _busy(disk, before)
    return told


async def _occupied_and_one_behind(
    engine: SqliteEngine, store: SqliteStore, disk: Disk
) -> list[asyncio.Future[object]]:
    """Hand in one message more, and see it committed while every syncer waits."""
    told = await _occupied(engine, store, disk)
    told.append(_handed_in(engine, store))
    await _seen(partial(_holds, engine, SYNCERS + 1))
    return told


@contextlib.contextmanager
def _all_failing(disk: Disk) -> Iterator[None]:
    """Let no sync end meanwhile, and all that wait then fail."""
    with disk.held():
        yield
        disk.failures = SYNCERS


async def _all_refused(told: list[asyncio.Future[object]]) -> None:
    async with asyncio.timeout(60):
        results = await asyncio.gather(*told, return_exceptions=True)
    assert [type(result) for result in results] == [SpoolError] * (SYNCERS + 1)


def _holds(engine: SqliteEngine, number: int) -> bool:
    return engine.admin.count(Selector()) == number


async def _seen(sight: Callable[[], bool]) -> None:
    """Wait until a reader sees it."""
    async with asyncio.timeout(60):
        while not sight():  # noqa: ASYNC110 -- the thread tells nobody
            await asyncio.sleep(0.001)


async def test_one_sync_serves_a_whole_batch(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """Group commit: a hundred messages at once cost a few syncs, not a hundred."""
    await asyncio.gather(*(accept(store, engine.message()) for _ in range(100)))
    assert 1 <= disk.count <= 10


@quick_only
async def test_those_who_come_together_share_a_commit(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Group commit: whoever is first behind a batch of twenty waits for the others, and all are answered by one sync."""
    # nobody's patience ends here, however busy the machine is
    monkeypatch.setattr("upesi.spool.pace._EACH", 60.0)
    monkeypatch.setattr("upesi.spool.pace._MOST", 60.0)
    await _burst(engine, store, disk, 20)
    disk.count = 0
    # 16 are four fifths of the twenty: the commit begins with the last of them
    early = [asyncio.ensure_future(accept(store, engine.message())) for _ in range(15)]
    async with asyncio.timeout(60):
        await accept(store, engine.message())
        await asyncio.gather(*early)
    assert disk.count == 1


@quick_only
async def test_close_waits_for_no_company(
    engine: SqliteEngine, store: SqliteStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that waits for more is woken by the end, and writes what it has."""
    monkeypatch.setattr("upesi.spool.pace._EACH", 600.0)
    monkeypatch.setattr("upesi.spool.pace._MOST", 600.0)
    await _burst(engine, store, disk, 20)
    last = asyncio.ensure_future(accept(store, engine.message()))
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await engine.restart()
        await last


class Gate:
    """Holds the writer in its next transaction, and remembers of what each one was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[list[str]] = []
        self.ended: list[int] = []
        self.reached = threading.Event()
        self.free = threading.Event()
        real = Ledger.apply

        def apply(ledger: Ledger, database: Database, items: list[Item]) -> None:
            self.batches.append([type(item).__name__ for item in items])
            self.ended += [item.completion.delivery for item in items if isinstance(item, Complete)]
            self.reached.set()
            self.free.wait(60)
            real(ledger, database, items)

        monkeypatch.setattr(Ledger, "apply", apply)


@pytest.mark.parametrize(
    ("store", "later", "many", "batches"),
    [
        (QUICK, math.inf, 100, [["Accept", "Complete", "Complete"]]),
        (SLOW, math.inf, 100, [["Accept"], ["Complete", "Complete"]]),
        (SLOW, math.inf, 2, [["Accept", "Complete", "Complete"]]),
        (SLOW, 0.0, 100, [["Accept", "Complete", "Complete"]]),
    ],
    indirect=["store"],
)
@pytest.mark.parametrize("ends", ["go on", "close"])
async def test_ends_of_attempts_may_go_later_beside_a_slow_disk(
    engine: SqliteEngine,
    store: SqliteStore,
    monkeypatch: pytest.MonkeyPatch,
    later: float,
    many: int,
    batches: list[list[str]],
    ends: str,
) -> None:
    """They wait for no other commit than the one before, for their time, or for their number; closing leaves none behind."""
    monkeypatch.setattr("upesi.spool.committer._LATER", later)
    monkeypatch.setattr("upesi.spool.committer._LATER_MANY", many)
    messages = [engine.message(), engine.message()]
    born = [(await accept(store, message))[0] for message in messages]
    gate = Gate(monkeypatch)
    told = [_handed_in(engine, store)]
    assert await asyncio.to_thread(gate.reached.wait, 60)
    told.append(_handed_in(engine, store))
    for delivery, message in zip(born, messages, strict=True):
        told.append(asyncio.ensure_future(complete(store, Completion(delivery.id, message.id))))
    await asyncio.sleep(0)
    if ends == "close":
        told.append(asyncio.ensure_future(store.close()))
        engine.stores.remove(store)
        await asyncio.sleep(0)
    gate.free.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*told)
    assert gate.batches == [["Accept"], *batches]


@slow_only
async def test_ends_of_attempts_do_not_overtake(
    engine: SqliteEngine, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither each other, where the disk becomes quick meanwhile, nor what was handed in before and is too much for one commit."""
    monkeypatch.setattr("upesi.spool.committer._LATER", math.inf)
    monkeypatch.setattr("upesi.spool.committer._MAX_BATCH", 2)
    messages = [engine.message(), engine.message()]
    ends = [Completion((await accept(store, each))[0].id, each.id) for each in messages]
    gate = Gate(monkeypatch)
    told: list[asyncio.Future[object]] = [_handed_in(engine, store)]
    assert await asyncio.to_thread(gate.reached.wait, 60)
    told += [_handed_in(engine, store) for _ in range(2)]
    told.append(asyncio.ensure_future(complete(store, ends[0])))
    await asyncio.sleep(0)
    monkeypatch.setattr("upesi.spool.syncer._QUICK", math.inf)
    monkeypatch.setattr("upesi.spool.syncer._IN_A_ROW", sys.maxsize)
    told.append(asyncio.ensure_future(complete(store, ends[1])))
    await asyncio.sleep(0)
    gate.free.set()
    async with asyncio.timeout(60):
        await asyncio.gather(*told)
    assert gate.batches == [["Accept"], ["Accept", "Accept"], ["Complete", "Complete"]]
    assert gate.ended == [end.delivery for end in ends]


async def _burst(engine: SqliteEngine, store: SqliteStore, disk: Disk, number: int) -> None:
    """Have one batch of `number` messages: held together while the disk is busy with the one before it."""
    before = disk.count
    with disk.held():
        first = asyncio.ensure_future(accept(store, engine.message()))
        await _busy(disk, before)
        rest = [asyncio.ensure_future(accept(store, engine.message())) for _ in range(number)]
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await asyncio.gather(first, *rest)


async def test_a_slow_disk_does_not_block_the_event_loop(engine: SqliteEngine, store: SqliteStore, disk: Disk) -> None:
    """While a sync does not end the loop goes on turning (STO-12)."""
    before = disk.count
    with disk.held():
        waiting = asyncio.ensure_future(accept(store, engine.message()))
        await _busy(disk, before)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
    async with asyncio.timeout(60):
        await waiting


async def _busy(disk: Disk, before: int) -> None:
    """Wait until the disk is asked for one sync more than `before`."""
    assert await asyncio.to_thread(disk.asked_beyond, before)


async def test_a_writer_that_dies_is_told_of_and_takes_nothing_more(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QUEUE.md, Accept: a dead writer ends the worker; until then nothing that is handed in waits for ever, and nothing is acknowledged."""
    died: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
    epoch = engine.admin.register_member()
    store = await SqliteStore.open(
        engine.folder, epoch, engine.settings, time.time, lambda event, text: None, died=died.set_result
    )
    told: list[SpoolError | None] = []

    def end_the_thread(descriptor: int) -> None:
        raise SystemExit(3)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fdatasync", end_the_thread)
        store.accept(engine.message(), lambda error, born: told.append(error))
        assert isinstance(await asyncio.wait_for(died, 60), SystemExit)
    with pytest.raises(SpoolError):
        await accept(store, engine.message())
    await store.close()
    assert [type(error) for error in told] == [SpoolError]
