"""Group commit: one thread that writes everything handed in since the last commit in one transaction.

    take all that waits -> bodies of large messages to their files, synced
    -> BEGIN IMMEDIATE, ledger, COMMIT      (the write lock of all processes: no sync inside)
    -> fdatasync of the log                 (docs/adr/0001-wal-sync.md)
    -> one call onto the event loop that runs every `done` of the batch
    -> files of bodies that have gone
    -> a wait for company (`pace`)

Failures. A row that cannot be written fails alone. No room: the batch is answered with SpoolFull, the connection lives on.
An I/O error: the batch is answered with an error, connection and log descriptor are thrown away, and the next batch opens
them anew. If it was the sync that failed, the batch *is* committed for every reader but perhaps not on the disk; before
anything else is written, the log is mended and what was answered with an error is undone.
"""

from __future__ import annotations

import asyncio
import threading
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
from upesi.spool.ledger import Ledger
from upesi.spool.pace import Pace
from upesi.spool.store import SpoolDamaged, SpoolError, SpoolFull
from upesi.spool.undo import Undo, undo

__all__ = ["Committer", "Died", "Notice", "spool_error"]

Notice = Callable[[str, str], None]
Died = Callable[[BaseException], None]

# A batch beyond this would hold the write lock for longer than other workers should wait (some 10 ms)
_MAX_BATCH = 500


def spool_error(error: DatabaseError) -> SpoolError:
    """Return what callers of the spool are told of a database's error."""
    if isinstance(error, DatabaseFull):
        return SpoolFull(str(error))
    if isinstance(error, DatabaseCorrupt):
        return SpoolDamaged(str(error))
    return SpoolError(str(error))


_NEVER = 1 << 60


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
        self._notice = notice
        self._mode = sync
        self._died = died
        self._pending: list[Item] = []
        # true only while the thread is about to sleep or sleeps; tokens in `_wake` may be too many, never too few
        self._idle = False
        # while the thread waits for company: how many items are enough to go on
        self._enough = _NEVER
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._closing = False
        self._database: Database | None = None
        self._wal: WalSync | None = None
        self._turn: Turn | None = None
        self._undo = Undo()
        self._writer = threading.Thread(target=self._live, name="spool-writer", daemon=True)

    def start(self) -> None:
        """Open the database, so that a spool that cannot be written refuses to start, and start the thread."""
        self._open()
        self._writer.start()

    def submit(self, item: Item) -> None:
        """Have `item` written with the next commit."""
        if self._closing:
            item.error = SpoolError("the spool is closed")
            self._loop.call_soon(self._finish, [item])
            return
        self._pending.append(item)
        if self._idle:
            self._idle = False
            self._wake.put(None)
        elif len(self._pending) >= self._enough:
            self._enough = _NEVER
            self._wake.put(None)

    def close(self) -> None:
        """Write what was handed in, then end the thread. Blocks; the last `done`s run on the event loop afterwards."""
        self._closing = True
        self._wake.put(None)
        if self._writer.ident is not None:
            self._writer.join()

    # the writer's thread from here on

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as error:
            # Whatever it was: a writer that died in silence would hold every session for ever
            self._closing = True
            self._loop.call_soon_threadsafe(self._died, error)

    def _run(self) -> None:
        pending, pace = self._pending, Pace()
        while True:
            # each of the two is one operation under the interpreter lock, so an append from the loop is in the one or the other
            batch = pending[:_MAX_BATCH]
            del pending[: len(batch)]
            if batch:
                self._commit(batch)
                pace.follow(len(batch))
                self._gather(pace)
                continue
            if self._closing:
                break
            self._idle = True
            if not pending and not self._closing:
                self._wake.get()
            self._idle = False
        self._discard()

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
        unlink: list[MessageId] = []
        try:
            unlink = self._write(batch)
        except DatabaseError as error:
            self._fail(batch, spool_error(error))
        except Exception as error:  # a bug of ours must answer its callers and leave the thread alive
            self._notice("spool.failed", f"{type(error).__name__}: {error}")
            self._discard()
            self._fail(batch, SpoolError("internal error"))
        try:
            self._loop.call_soon_threadsafe(self._finish, batch)
        except RuntimeError:
            # the loop has been closed under us: nobody is left to be told
            pass
        for id in unlink:
            self._bodies.remove(id)

    def _fail(self, batch: Sequence[Item], error: SpoolError) -> None:
        for item in batch:
            if item.error is None:
                item.error = error

    def _finish(self, batch: list[Item]) -> None:
        """On the event loop: tell everybody; one that raises does not keep the news from the others."""
        for item in batch:
            try:
                item.finish()
            except Exception as error:
                self._loop.call_exception_handler({"message": "a spool callback failed", "exception": error})

    def _write(self, batch: list[Item]) -> list[MessageId]:
        """Commit `batch` and make it durable; return whose bodies are to be removed now."""
        if self._database is None or self._wal is None or self._turn is None:
            self._open()
        database, wal, turn = self._database, self._wal, self._turn
        assert database is not None
        assert wal is not None
        assert turn is not None
        ledger = Ledger(self._epoch)
        kept = self._keep_bodies(batch)
        good = [item for item in batch if item.error is None]
        try:
            self._transact(database, turn, ledger, good)
        except (DatabaseIoError, DatabaseGone):
            self._discard()
            self._drop_bodies(kept)
            raise
        except DatabaseError:
            self._drop_bodies(kept)
            raise
        good = [item for item in good if item.error is None]
        if any(item.durable for item in good):
            try:
                wal.sync()
            except DatabaseError:
                self._undo.note(good)
                self._discard()
                raise
        ledger.finish(good)
        return ledger.unlink

    def _transact(self, database: Database, turn: Turn, ledger: Ledger, items: list[Item]) -> None:
        try:
            with turn.taken(), database.transaction():
                ledger.apply(database, items)
        except (DatabaseFull, DatabaseIoError, DatabaseGone):
            raise
        except DatabaseError as error:
            if not items or not _own_fault(error):
                raise
            ledger.unlink.clear()
            self._one_by_one(database, turn, ledger, items)

    def _one_by_one(self, database: Database, turn: Turn, ledger: Ledger, items: list[Item]) -> None:
        """Write the batch again, each item on its own, so that the one that cannot be written fails alone."""
        with turn.taken(), database.transaction():
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

    def _keep_bodies(self, batch: Sequence[Item]) -> list[MessageId]:
        """Make the large bodies of `batch` durable; one that cannot be written fails its message alone."""
        kept = []
        for item, accept in _accepts(batch):
            if accept.file is None or item.error is not None:
                continue
            try:
                self._bodies.keep(accept.id, accept.file)
                kept.append(accept.id)
            except OSError as error:
                item.error = error_from(error, "cannot keep a body")
            except SpoolError as error:
                item.error = error
        return kept

    def _drop_bodies(self, kept: Sequence[MessageId]) -> None:
        for id in kept:
            self._bodies.remove(id)

    def _open(self) -> None:
        """Open connection and log; mend and undo first what a failed sync left behind."""
        database = Database.open(self._path, sync=self._mode)
        wal: WalSync | None = None
        turn: Turn | None = None
        try:
            turn = Turn(self._path)
            wal = WalSync(self._path)
            wal.check()
            if wal.suspect:
                mend(self._path)
                self._notice("spool.mended", "the log has been verified, written again and synced")
            if not self._undo.empty:
                gone = undo(database, self._undo, self._epoch)
                wal.sync()
                self._undo = Undo()
                self._drop_bodies(gone)
        except BaseException:
            if wal is not None:
                wal.close()
            if turn is not None:
                turn.close()
            database.close()
            raise
        self._database, self._wal, self._turn = database, wal, turn

    def _discard(self) -> None:
        database, self._database = self._database, None
        wal, self._wal = self._wal, None
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.close()
        if wal is not None:
            wal.close()
        if database is not None:
            database.close()


def _own_fault(error: DatabaseError) -> bool:
    """Whether the error belongs to a row (a value, a damaged page) and not to the store as a whole."""
    return type(error) in (DatabaseError, DatabaseCorrupt)


def _accepts(batch: Sequence[Item]) -> Iterator[tuple[Item, Accept]]:
    for item in batch:
        if isinstance(item, Accept):
            yield item, item
        elif isinstance(item, Complete):
            for spawn in item.spawn:
                yield item, spawn
