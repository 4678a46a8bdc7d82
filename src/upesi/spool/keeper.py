"""What a spool needs done in the background, on a thread and a connection of its own: room, checkpoints, history.

Every worker has a keeper; they do not talk to each other. SQLite admits one checkpoint at a time: who finds another at it
lets it be. Copying the log into the database (PASSIVE) holds up nobody. Only starting the log anew (RESTART) takes the write
lock, for what came in since and one sync, once in some 64 MB of log.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from upesi.database.errors import DatabaseBusy, DatabaseError, DatabaseIoError
from upesi.database.sqlite import PAGE_SIZE, Checkpoint, Database, Sync
from upesi.database.wal import WalState

__all__ = ["Keeper"]

_TICK = 0.25
# Copy when this much has gathered: often enough that RESTART finds little left to copy under the lock
_COPY_FRAMES = 16 * 2**20 // PAGE_SIZE
# A log of this size fits the page cache and takes well under a second to recover
_RESTART_FRAMES = 64 * 2**20 // PAGE_SIZE
# The log cannot be copied (a reader of an hour, a database that cannot be written): stop accepting rather than fill the disk
_FULL_FRAMES = 2**30 // PAGE_SIZE
_MIN_INODES = 64
_PRUNE_STEP = 500
_PRUNE_STEPS = 20


class Keeper:
    """The background thread of one worker's spool. `full` may be read from any thread."""

    def __init__(
        self, path: Path, min_free: int, history: float, now: Callable[[], float], notice: Callable[[str, str], None]
    ) -> None:
        self._path = path
        self._min_free = min_free
        self._history = history
        self._now = now
        self._notice = notice
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool-keeper", daemon=True)
        self._state = WalState(path)
        self._database: Database | None = None
        self._frames = 0
        self.full = False

    def start(self) -> None:
        """Measure once, so that `full` is true from the beginning where it is true, and start the thread."""
        self.measure()
        self._thread.start()

    def close(self) -> None:
        """End the thread. Blocks."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        ticks = 0
        while not self._stop.wait(_TICK):
            ticks += 1
            if ticks % 4 == 0:
                self.measure()
            try:
                self.tick()
            except DatabaseBusy:
                # another worker's keeper is at it, or its writer: the next tick will do
                pass
            except DatabaseError as error:
                self._notice("spool.keeper.failed", str(error))
                self._discard()
        self._discard()

    def measure(self) -> None:
        """See how much room there is. A file system that cannot be asked counts as full."""
        try:
            room = os.statvfs(self._path.parent)
        except OSError:
            self.full = True
            return
        inodes = room.f_files > 0 and room.f_favail < _MIN_INODES
        self.full = room.f_bavail * room.f_frsize < self._min_free or inodes or self._frames > _FULL_FRAMES

    def tick(self) -> None:
        """Do what is due now, in small steps."""
        database = self._database
        if database is None:
            database = self._database = Database.open(self._path, sync=Sync.CALLER, busy=0.2)
        self._prune(database)
        self._checkpoint(database)

    def _checkpoint(self, database: Database) -> None:
        self._frames, copied = database.checkpoint(Checkpoint.LOOK)
        if self._frames - copied < _COPY_FRAMES and self._frames < _RESTART_FRAMES:
            return
        if self._state.stale:
            return
        try:
            database.checkpoint(Checkpoint.PASSIVE)
            if self._frames >= _RESTART_FRAMES:
                self._frames, _ = database.checkpoint(Checkpoint.RESTART)
        except DatabaseIoError as error:
            # what had been copied before may never reach the disk, and the log says it was copied: only a start with recovery copies
            # it again, so until then the log keeps everything (docs/adr/0001-wal-sync.md)
            self._state.mark_stale()
            self._state.mark_suspect()
            self._notice(
                "spool.checkpoint.failed", f"{error}; no more checkpoints until every process has been restarted"
            )
            raise

    def _prune(self, database: Database) -> None:
        """Remove history that is old enough. The newest event always stays, so that positions never come twice."""
        limit = self._now() - self._history
        for _ in range(_PRUNE_STEPS):
            database.run(
                "DELETE FROM event WHERE position IN (SELECT position FROM event WHERE position < (SELECT max(position) FROM event) "
                "ORDER BY position LIMIT ?) AND at < ?",
                _PRUNE_STEP, limit,
            )  # fmt: skip
            if database.changes() < _PRUNE_STEP or self._stop.is_set():
                return

    def _discard(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()
