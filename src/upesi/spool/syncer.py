"""Making commits durable: on the writer's thread while the disk is quick, on threads of our own while it is slow.

    takes every commit that was handed over and that no other thread has
    -> one fdatasync of the log for all of them, by a descriptor of its own   (docs/adr/0001-wal-sync.md)
    -> one call onto the event loop that runs every `done`; another one, before the sync, has run every `begun`
    -> files of bodies that have gone

A disk that needs 5 ms for a sync makes a session wait for 5 ms. If the writer waited as well, all sessions of a worker would go in step
while its processor rests; with one thread here, a commit waits for half of the sync before its own. Relayed messages/s of 50 sessions,
by turns, syncs 5 ms slower: 2,606 without these threads, 2,939 with one, 3,212 with two, 3,182 with three; 20 ms slower: 1,131,
1,131, 1,413, 1,519. Where a sync is over before the next batch is worth a commit, they cost more than they gain: batches become
smaller, and one more thread wants the interpreter lock (a tenth less, by turns). So what the last syncs took decides.

If a sync fails, what it was for is answered with an error and noted in `undo`, and `broken` is set. The log is suspect from then on, for
every thread and process, so what is handed over behind it fails likewise. The writer, before it writes again, waits until nothing is
left here (`drain`), mends the log and takes back what `undo` names. A mistake of ours is answered in the same way: whoever is never
answered holds a session for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from upesi.database.errors import DatabaseError, DatabaseIoError
from upesi.database.wal import WalSync
from upesi.mail.ids import MessageId
from upesi.spool.batch import Accept, Item
from upesi.spool.bodies import BodyFolder
from upesi.spool.failures import spool_error
from upesi.spool.ledger import Ledger
from upesi.spool.store import SpoolError
from upesi.spool.undo import Undo

__all__ = ["DESCRIPTORS", "Commit", "Syncer", "fail", "tell"]

# Syncs under way at a time. What is handed over meanwhile waits, and shares the next one: no more than sessions and attempts can hold
SYNCERS = 3
# of the log: one for each thread, and the writer's
DESCRIPTORS = SYNCERS + 1
# Seconds. A commit takes one to two and a half milliseconds, and the wait for company as long
_QUICK = 0.002
# So many that took longer make a slow disk, and one that did not makes it quick again: a busy machine has single ones that take long
_IN_A_ROW = 3
# Seconds that syncs take on the average where receivers may be quicker. Of what a busy machine makes of a quick disk nothing is gained: by
# turns 7 % fewer messages/s, since their owner has all the work then (docs/adr/0007-cut-through.md)
_OUTRUN = 0.004
# The part of that average which is the last sync's
_NEWEST = 0.125


class Commit:
    """A batch that every reader sees and a power cut may still take back. `good` are those of its items that were written."""

    __slots__ = ("batch", "good", "ledger")

    def __init__(self, batch: Sequence[Item], good: Sequence[Item], ledger: Ledger) -> None:
        self.batch = batch
        self.good = good
        self.ledger = ledger


class Syncer:
    """The sync threads of one worker. All methods, `broken` and `undo` belong to the writer's thread; `quick` may be asked anywhere."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bodies: BodyFolder,
        notice: Callable[[str, str], None],
        died: Callable[[BaseException], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`died` is called on a thread of ours if that ends by an error."""
        self._loop = loop
        self._bodies = bodies
        self._notice = notice
        self._died = died
        self._monotonic = monotonic
        # syncs in a row that were not quick
        self._slow = 0
        # what one takes, on the average
        self._takes = 0.0
        # a commit with the logs that it is in, one descriptor for each thread; None for each thread that is to end
        self._handed: SimpleQueue[tuple[Commit, Sequence[WalSync]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._live, args=(number,), name=f"spool-syncer-{number}", daemon=True)
            for number in range(SYNCERS)
        ]
        # guards what follows
        self._news = threading.Condition()
        # commits that were handed over and not answered yet
        self._left = 0
        self._alive = 0
        # what was answered with an error although it was committed; it grows until `drain` returns
        self.undo = Undo()
        self.broken = False

    @property
    def quick(self) -> bool:
        """Whether the disk is quick."""
        return self._slow < _IN_A_ROW

    def start(self) -> None:
        """Start the threads."""
        self._alive = len(self._threads)
        for thread in self._threads:
            thread.start()

    def hand(self, commit: Commit, logs: Sequence[WalSync]) -> None:
        """Have `commit` made durable and its callers told. `logs` are `DESCRIPTORS` of the log, open until `drain` returns."""
        if self.quick:
            # the disk is so quick that the writer may as well wait for it
            self._settle([commit], logs[SYNCERS])
            return
        # before a thread can say more of them
        if self._takes >= _OUTRUN:
            _call(
                self._loop, [item.begin for item in commit.good if isinstance(item, Accept) and item.begun is not None]
            )
        with self._news:
            self._left += 1
        self._handed.put((commit, logs))

    def drain(self) -> None:
        """Wait until everything that was handed over is answered."""
        with self._news:
            self._news.wait_for(lambda: not (self._left and self._alive))
        if self._left:
            self._abandon()

    def _abandon(self) -> None:
        """Refuse what the threads left behind: none of them lives."""
        while (got := self._next()) is not None:
            self._refuse([got[0]], SpoolError("internal error"))
            self._left -= 1

    def forget(self) -> None:
        """Begin anew: the log is mended and what `undo` named is taken back. Only behind `drain`."""
        self.undo = Undo()
        self.broken = False

    def close(self) -> None:
        """End the threads behind everything that was handed over. Blocks."""
        for _ in self._threads:
            self._handed.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._abandon()

    # the threads from here on, and the writer's where the disk is quick

    def _live(self, number: int) -> None:
        try:
            while self._step(number):
                pass
        except BaseException as error:
            self._died(error)
        finally:
            with self._news:
                self._alive -= 1
                self._news.notify_all()

    def _step(self, number: int) -> bool:
        """Deal with all that waits; whether to go on."""
        got = self._handed.get()
        if got is None:
            return False
        first, logs = got
        commits = [first]
        try:
            # the writer drains before it opens other logs, so these are everybody's
            while (more := self._next()) is not None:
                commits.append(more[0])
            self._settle(commits, logs[number])
        finally:
            with self._news:
                self._left -= len(commits)
                self._news.notify_all()
        return True

    def _next(self) -> tuple[Commit, Sequence[WalSync]] | None:
        try:
            got = self._handed.get_nowait()
        except Empty:
            return None
        if got is None:
            # the end that is meant for one of us
            self._handed.put(None)
        return got

    def _settle(self, commits: Sequence[Commit], log: WalSync) -> None:
        unlink: list[MessageId] = []
        try:
            if any(item.durable for commit in commits for item in commit.good):
                self._sync(log)
            for commit in commits:
                commit.ledger.finish(commit.good)
                unlink += commit.ledger.unlink
        except DatabaseError as error:
            self._refuse(commits, spool_error(error))
        except BaseException as error:
            self._refuse(commits, SpoolError("internal error"))
            self._notice("spool.failed", f"{type(error).__name__}: {error}")
            if not isinstance(error, Exception):
                raise
        else:
            tell(self._loop, [commit.batch for commit in commits])
            for id in unlink:
                self._bodies.remove(id)

    def _sync(self, log: WalSync) -> None:
        before = self._monotonic()
        log.sync()
        if self.broken:
            # a descriptor is told of a failure once, so the next sync on it succeeds, and the mark may have found no room
            raise DatabaseIoError("a sync before this one failed")
        took = self._monotonic() - before
        self._takes += (took - self._takes) * _NEWEST
        self._slow = 0 if took < _QUICK else self._slow + 1

    def _refuse(self, commits: Sequence[Commit], error: SpoolError) -> None:
        for commit in commits:
            fail(commit.batch, error)
        try:
            with self._news:
                self.broken = True
                for commit in commits:
                    self.undo.note(commit.good)
                    self.undo.bodies += commit.ledger.unlink
        finally:
            tell(self._loop, [commit.batch for commit in commits])


def fail(items: Sequence[Item], error: SpoolError) -> None:
    """Give `error` to those of `items` that have none of their own."""
    for item in items:
        if item.error is None:
            item.error = error


def tell(loop: asyncio.AbstractEventLoop, batches: Sequence[Sequence[Item]]) -> None:
    """Have the event loop tell everybody, in order."""
    _call(loop, [item.finish for batch in batches for item in batch])


def _call(loop: asyncio.AbstractEventLoop, calls: Sequence[Callable[[], None]]) -> None:
    if not calls:
        return
    try:
        loop.call_soon_threadsafe(_run, loop, calls)
    except RuntimeError:
        # the loop has been closed under us: nobody is left to be told
        pass


def _run(loop: asyncio.AbstractEventLoop, calls: Sequence[Callable[[], None]]) -> None:
    """On the event loop: one that raises does not keep the news from the others."""
    for call in calls:
        try:
            call()
        except Exception as error:
            loop.call_exception_handler({"message": "a spool callback failed", "exception": error})
