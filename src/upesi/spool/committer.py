"""Group commit: one thread that writes everything handed in since the last commit in one transaction.

    take all that waits -> bodies of large messages to their files, synced
    -> BEGIN IMMEDIATE, ledger, COMMIT      (the write lock of all processes: no sync inside)
    -> to `syncer`, which makes it durable and answers, while this thread goes on if the disk is slow
    -> a wait for company (`pace`)

Ends of attempts. Nobody waits for them, and they are half of the work. Where the disk is slow, and batches are small, they go with every
third or so (`_LATER`), so that the others are short: by turns 7 % more relayed messages/s and 13 % less CPU each. A crash repeats what was
sent within these milliseconds; on a quick disk nothing is gained, and they go with the next.

Failures. A row that cannot be written fails alone. No room: the batch is answered with SpoolFull, the connection lives on.
An I/O error: the batch is answered with an error, connection and log descriptors are thrown away, and the next batch opens
them anew. If it was a sync that failed, the batch *is* committed for every reader but perhaps not on the disk; before
anything else is written, the log is mended and what was answered with an error is undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from upesi.database.errors import (
    DatabaseCorrupt,
    DatabaseError,
    DatabaseFull,
    DatabaseGone,
    DatabaseIoError,
)
from upesi.database.sqlite import Database, Sync
from upesi.database.turn import Turn
from upesi.database.wal import WalSync, mend
from upesi.mail.ids import MessageId
from upesi.spool.batch import Accept, Complete, Item
from upesi.spool.bodies import BodyFolder
from upesi.spool.body_file import error_from
from upesi.spool.failures import spool_error
from upesi.spool.ledger import Ledger
from upesi.spool.pace import Pace
from upesi.spool.store import SpoolError
from upesi.spool.syncer import DESCRIPTORS, Commit, Syncer, fail, tell
from upesi.spool.undo import undo

__all__ = ["Committer", "Died", "Notice"]

Notice = Callable[[str, str], None]
Died = Callable[[BaseException], None]

# Seconds for which ends of attempts may be left for a later commit (three or four of them on a slow disk), and how many may wait
_LATER = 0.015
_LATER_MANY = 100

# A batch beyond this would hold the write lock for longer than other workers should wait (some 10 ms)
_MAX_BATCH = 500


_NEVER = 1 << 60


class _Opened:
    """What the writer has open: a connection, its place in the queue before the write lock, descriptors of the log for the syncer."""

    __slots__ = ("_stack", "database", "logs", "turn")

    def __init__(self, path: Path, mode: Sync) -> None:
        """Raises DatabaseError, and has nothing open then."""
        with contextlib.ExitStack() as stack:
            self.database = stack.enter_context(contextlib.closing(Database.open(path, sync=mode)))
            self.turn = stack.enter_context(contextlib.closing(Turn(path)))
            # the log's last: it must not outlive the connection, which keeps the file from being removed
            self.logs = [stack.enter_context(contextlib.closing(WalSync(path))) for _ in range(DESCRIPTORS)]
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Let go of all."""
        self._stack.close()


class Committer:
    """The writer thread of one worker. `submit` belongs to the event loop's thread."""

    def __init__(
        self,
        path: Path,
        epoch: int,
        bodies: BodyFolder,
        loop: asyncio.AbstractEventLoop,
        notice: Notice,
        sync: Sync = Sync.CALLER,
        died: Died = lambda error: None,
    ) -> None:
        """`died` is called on the loop if the thread ends by an error: nobody would answer what is handed in from then on."""
        self._path = path
        self._epoch = epoch
        self._bodies = bodies
        self._loop = loop
        self._notice = notice = _unfailing(notice)
        self._mode = sync
        self._died = died
        self._pending: list[Item] = []
        # what may go with a later commit, and when something of it last went
        self._later: list[Item] = []
        self._went = 0.0
        # true only while the thread is about to sleep or sleeps; tokens in `_wake` may be too many, never too few
        self._idle = False
        # while the thread waits for company: how many items are enough to go on
        self._enough = _NEVER
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._closing = False
        self._opened: _Opened | None = None
        self._syncer = Syncer(loop, bodies, notice, self._end, time.monotonic)
        self._writer = threading.Thread(target=self._live, name="spool-writer", daemon=True)

    def start(self) -> None:
        """Open the database, so that a spool that cannot be written refuses to start, and start the thread."""
        self._open()
        self._syncer.start()
        self._writer.start()

    def submit(self, item: Item) -> None:
        """Have `item` written with the next commit."""
        if self._closing:
            item.error = SpoolError("the spool is closed")
            tell(self._loop, [[item]])
            return
        # behind one that waits, so that ends keep their order (a barrier is one of nothing)
        if type(item) is Complete and (self._later or not self._syncer.quick):
            self._later.append(item)
        else:
            self._pending.append(item)
        if self._idle:
            self._idle = False
            self._wake.put(None)
        elif len(self._pending) >= self._enough:
            self._enough = _NEVER
            self._wake.put(None)

    def stop(self) -> None:
        """Take nothing more, on the event loop's thread: what comes in while the writer ends would be answered by nobody."""
        self._closing = True
        self._wake.put(None)

    def close(self) -> None:
        """Behind `stop`, on another thread: write what was handed in and end. The last `done`s run on the event loop afterwards."""
        if self._writer.ident is not None:
            self._writer.join()
            self._syncer.close()
            # of a writer that died
            self._fail([*self._pending, *self._later], SpoolError("internal error"))

    # the writer's thread from here on

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Have the worker end, whatever it was: a writer or a syncer that died in silence would hold every session for ever."""
        self._closing = True
        self._loop.call_soon_threadsafe(self._died, error)

    def _run(self) -> None:
        pace = Pace()
        while True:
            batch = self._take()
            if batch:
                self._commit(batch)
                pace.follow(len(batch), self._syncer.quick)
                self._gather(pace)
                continue
            if self._closing:
                break
            self._idle = True
            if not self._pending and not self._later and not self._closing:
                self._wake.get()
            self._idle = False
        self._discard()
        if self._syncer.broken:
            # what was refused last is taken back now; where that fails, it goes out although its client was refused
            with contextlib.suppress(DatabaseError):
                self._open()
            self._discard()

    def _take(self) -> list[Item]:
        """Return what goes with this commit."""
        # each of the two is one operation under the interpreter lock, so an append from the loop is in the one or the other
        batch = self._pending[:_MAX_BATCH]
        del self._pending[: len(batch)]
        # not before what was handed in earlier, and is too much for one batch
        room = _MAX_BATCH - len(batch)
        if self._later and room:
            now = time.monotonic()
            if not batch or self._syncer.quick or len(self._later) >= _LATER_MANY or not 0 <= now - self._went < _LATER:
                more = self._later[:room]
                del self._later[: len(more)]
                batch += more
                self._went = now
        return batch

    def _gather(self, pace: Pace) -> None:
        """Wait until the next batch is worth a commit."""
        while not self._wake.empty():
            # of one who saw us about to sleep when we no longer were
            self._wake.get()
        self._enough = pace.enough
        # looked at behind the assignment, as `submit` looks at it behind its append: one of the two sees the other
        if len(self._pending) < pace.enough and not self._closing:
            try:
                self._wake.get(timeout=pace.patience)
            except Empty:
                # time is over: what is here goes
                pass
        self._enough = _NEVER

    def _commit(self, batch: list[Item]) -> None:
        try:
            self._write(batch)
        except DatabaseError as error:
            self._fail(batch, spool_error(error))
        except Exception as error:  # a bug of ours must answer its callers and leave the thread alive
            self._notice("spool.failed", f"{type(error).__name__}: {error}")
            self._discard()
            self._fail(batch, SpoolError("internal error"))

    def _fail(self, batch: Sequence[Item], error: SpoolError) -> None:
        fail(batch, error)
        tell(self._loop, [batch])

    def _write(self, batch: list[Item]) -> None:
        """Commit `batch` and hand it to the syncer, who answers it."""
        if self._syncer.broken:
            self._discard()
        opened = self._opened or self._open()
        ledger = Ledger(self._epoch)
        kept = self._keep_bodies(batch)
        good = [item for item in batch if item.error is None]
        try:
            self._transact(opened, ledger, good)
        except DatabaseError as error:
            if isinstance(error, DatabaseIoError | DatabaseGone):
                self._discard()
            if not ledger.closed:
                self._drop_bodies(kept)
            # A COMMIT that failed may be in the log all the same, and the next recovery then finds it (no room for the index in
            # shared memory, which is written last). Its files stay: at worst they are orphans until the next start.
            raise
        good = [item for item in good if item.error is None]
        self._drop_bodies([(item, id) for item, id in kept if not _written(item)])
        self._syncer.hand(Commit(batch, good, ledger), opened.logs)

    def _transact(self, opened: _Opened, ledger: Ledger, items: list[Item]) -> None:
        try:
            with opened.turn.taken(), opened.database.transaction():
                ledger.apply(opened.database, items)
                ledger.closed = True
        except (DatabaseFull, DatabaseIoError, DatabaseGone):
            raise
        except DatabaseError as error:
            if not items or ledger.closed or not _own_fault(error):
                raise
            ledger.unlink.clear()
            self._one_by_one(opened, ledger, items)

    def _one_by_one(self, opened: _Opened, ledger: Ledger, items: list[Item]) -> None:
        """Write the batch again, each item on its own, so that the one that cannot be written fails alone."""
        database = opened.database
        with opened.turn.taken(), database.transaction():
            for item in items:
                before = len(ledger.unlink)
                database.run("SAVEPOINT item")
                try:
                    ledger.apply(database, [item])
                except DatabaseError as error:
                    if not _own_fault(error):
                        raise
                    item.error = spool_error(error)
                    del ledger.unlink[before:]
                    database.run("ROLLBACK TO item")
                database.run("RELEASE item")
            ledger.closed = True

    def _keep_bodies(self, batch: Sequence[Item]) -> list[tuple[Item, MessageId]]:
        """Make the large bodies of `batch` durable; one that cannot be written fails its message alone.

        Return those that are new. One that was there may be named by a row: of a report whose commit was refused, and is offered again.
        """
        kept = []
        for item, accept in _accepts(batch):
            if accept.file is None or item.error is not None:
                continue
            try:
                if self._bodies.keep(accept.id, accept.file):
                    kept.append((item, accept.id))
            except OSError as error:
                item.error = error_from(error, "cannot keep a body")
            except SpoolError as error:
                item.error = error
        return kept

    def _drop_bodies(self, kept: Sequence[tuple[Item, MessageId]]) -> None:
        for _, id in kept:
            self._bodies.remove(id)

    def _open(self) -> _Opened:
        """Open connection and log; mend and undo first what a failed sync left behind. The syncer has nothing left."""
        opened = _Opened(self._path, self._mode)
        try:
            log = opened.logs[0]
            log.check()
            # `broken` as well: where there was no room or descriptor for the mark, nothing else says so
            if log.suspect or self._syncer.broken:
                mend(self._path)
                self._notice("spool.mended", "the log has been verified, written again and synced")
            if self._syncer.broken:
                self._take_back(opened.database)
                log.sync()
                for id in self._syncer.undo.bodies:
                    self._bodies.remove(id)
                self._syncer.forget()
        except BaseException:
            opened.close()
            raise
        self._opened = opened
        return opened

    def _take_back(self, database: Database) -> None:
        what = self._syncer.undo
        try:
            undo(database, what, self._epoch)
        except Exception as error:
            if isinstance(error, DatabaseError) and not _own_fault(error):
                raise
            # a damaged page, a bug: it would be the same for ever, and the log is mended, so what comes now can be kept
            self._notice("spool.not_undone", f"{type(error).__name__}: {error}")
            what.bodies.clear()

    def _discard(self) -> None:
        # what the syncer still has is in a log that is about to be closed
        self._syncer.drain()
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()


def _unfailing(notice: Notice) -> Notice:
    """Return `notice` without its errors: nobody here would be helped by them, and some would be answered twice."""

    def give(event: str, text: str) -> None:
        with contextlib.suppress(Exception):
            notice(event, text)

    return give


def _own_fault(error: DatabaseError) -> bool:
    """Whether the error belongs to a row (a value, a damaged page) and not to the store as a whole."""
    return type(error) in (DatabaseError, DatabaseCorrupt)


def _written(item: Item) -> bool:
    return item.error is None and not (isinstance(item, Complete) and not item.applied)


def _accepts(batch: Sequence[Item]) -> Iterator[tuple[Item, Accept]]:
    for item in batch:
        if isinstance(item, Accept):
            yield item, item
        elif isinstance(item, Complete):
            for spawn in item.spawn:
                yield item, spawn
