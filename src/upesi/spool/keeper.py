"""What a spool needs done in the background, on a thread and a connection of its own: room, checkpoints, history.

Every worker has a keeper; they do not talk to each other. SQLite admits one checkpoint at a time: who finds another at it
lets it be. Copying the log into the database (PASSIVE) holds up nobody. Only starting the log anew (RESTART) takes the write
lock, for what came in since and one sync, once in some 64 MB of log (`room`), and often while the disk is full: what ends
deliveries must be written somewhere, and the place that the log has is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec

from upesi.database.errors import DatabaseBusy, DatabaseError, DatabaseIoError
from upesi.database.sqlite import PAGE_SIZE, Checkpoint, Database, Sync
from upesi.database.wal import WalState
from upesi.spool.room import LOG, Room
from upesi.spool.setback import Setback
from upesi.spool.store import SpoolError
from upesi.spool.sweep import Sweep

__all__ = ["Keeper"]

_EMPTY = "(routing = 0 AND ready = 0 AND active = 0 AND held = 0)"

_TICK = 0.25
# With less room than this, it is measured at every tick: more than what comes in meanwhile
_SOON = 256 * 2**20
# Copied when this part of what makes it start anew has gathered: often enough that RESTART finds little left to copy under the lock
_COPY_PART = 4
# On a full disk
_TIGHT_FRAMES = 2**18 // PAGE_SIZE
# The log cannot be copied (a reader of an hour, a database that cannot be written): stop accepting rather than fill the disk
_FULL_FRAMES = 2**30 // PAGE_SIZE
# Between two measurements a worker takes no more than this part of the room that is left: a body goes to the log and from there to the
# database, and other workers take as well
_BUDGET_PART = 4
# Keys of queues looked at in one tick, and ticks between two walks over all of them
_KEYS = 1000
_WALK = 240
_PRUNE_STEP = 500
_PRUNE_STEPS = 20


class Keeper:
    """The background thread of one worker's spool. `full` may be read from any thread."""

    def __init__(
        self,
        path: Path,
        min_free: int,
        history: float,
        now: Callable[[], float],
        notice: Callable[[str, str], None],
        sweep: Sweep | None = None,
        setback: Setback | None = None,
    ) -> None:
        self._path = path
        self._log = path.with_name(path.name + "-wal")
        self._min_free = min_free
        self._history = history
        self._now = now
        self._notice = notice
        self._sweep = sweep
        self._setback = setback
        self._ticks = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spool-keeper", daemon=True)
        self._state = WalState(path)
        self._database: Database | None = None
        self._frames = 0
        self._restart_frames = LOG // PAGE_SIZE
        # octets that may be taken before the next measurement
        self._budget = 0
        # octets of the database that are free inside it
        self._reusable = 0
        # where the walk over the queues is, and ticks until the next one begins
        self._walked = ""
        self._rest = 0
        self._complained = ""
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
            if ticks % 4 == 0 or self._budget < _SOON:
                self.measure()
            try:
                self.tick()
            except DatabaseBusy:
                # another worker's keeper is at it, or its writer: the next tick will do
                pass
            except (DatabaseError, SpoolError) as error:
                self._complain(str(error))
                self._discard()
            else:
                self._complained = ""
        self._discard()

    def _complain(self, text: str) -> None:
        """Say it once, not four times a second."""
        if text != self._complained:
            self._complained = text
            self._notice("spool.keeper.failed", text)

    def measure(self) -> None:
        """See how much room there is. A file system that cannot be asked counts as full."""
        try:
            room = Room.of(self._path.parent)
        except OSError:
            self.full = True
            return
        self._restart_frames = room.log // PAGE_SIZE
        # a database does not shrink: what has gone from it makes room for what comes, but the log must be able to take that
        left = min(room.free + self._reusable - self._min_free, room.free - (room.log - self._log_size()))
        self._budget = left // _BUDGET_PART
        self.full = left < 0 or not room.names or self._frames > _FULL_FRAMES

    def take(self, size: int) -> None:
        """Take note of `size` octets that are being written: a disk of some MB is full long before it is measured again."""
        self._budget -= size
        if self._budget < 0:
            self.full = True

    def _log_size(self) -> int:
        """Return the octets of the log's file: it keeps them when it starts anew."""
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def tick(self) -> None:
        """Do what is due now, in small steps."""
        database = self._database
        if database is None:
            database = self._database = Database.open(self._path, sync=Sync.CALLER, busy=0.2)
        self._reusable = database.number("PRAGMA freelist_count") * PAGE_SIZE
        self._prune(database)
        self._prune_queues(database)
        self._checkpoint(database)
        self._ticks += 1
        if self._ticks % 4:
            return
        if self._setback is not None:
            self._setback.step(database)
        if self._sweep is not None:
            self._sweep.step(database)

    def _checkpoint(self, database: Database) -> None:
        self._frames, copied = database.checkpoint(Checkpoint.LOOK)
        restart = _TIGHT_FRAMES if self.full else self._restart_frames
        if self._frames - copied < restart // _COPY_PART and self._frames < restart:
            return
        if self._state.stale:
            return
        try:
            database.checkpoint(Checkpoint.PASSIVE)
            if self._frames >= restart:
                self._frames, _ = database.checkpoint(self._anew())
        except DatabaseIoError as error:
            # what had been copied before may never reach the disk, and the log says it was copied: only a start with recovery copies
            # it again, so until then the log keeps everything (docs/adr/0001-wal-sync.md)
            self._state.mark_stale()
            self._state.mark_suspect()
            self._notice(
                "spool.checkpoint.failed", f"{error}; no more checkpoints until every process has been restarted"
            )
            raise

    def _anew(self) -> Checkpoint:
        """Return how to start the log anew: where a burst made it larger than it should be and room is short, the rest is given back."""
        too_large = self.full and self._log_size() > 2 * self._restart_frames * PAGE_SIZE
        return Checkpoint.TRUNCATE if too_large else Checkpoint.RESTART

    def _prune(self, database: Database) -> None:
        """Remove history that is old enough. The newest event always stays, so that positions never come twice."""
        limit = self._now() - self._history
        oldest = database.value("SELECT min(at) FROM (SELECT at FROM event ORDER BY position LIMIT ?)", _PRUNE_STEP)
        if oldest is None or cast(float, oldest) >= limit:
            # nearly always: without this look, every tick would take the write lock
            return
        for _ in range(_PRUNE_STEPS):
            database.run(
                "DELETE FROM event WHERE position IN (SELECT position FROM event WHERE position < (SELECT max(position) FROM event) "
                "ORDER BY position LIMIT ?) AND at < ?",
                _PRUNE_STEP, limit,
            )  # fmt: skip
            if database.changes() < _PRUNE_STEP or self._stop.is_set():
                return

    def _prune_queues(self, database: Database) -> None:
        """Remove keys of queues that hold nothing, a bounded number in a tick: without this, every domain ever mailed would stay."""
        if self._rest:
            self._rest -= 1
            return
        keys = database.rows(f"SELECT key, {_EMPTY} FROM queue WHERE key > ? ORDER BY key LIMIT ?", self._walked, _KEYS)
        if len(keys) < _KEYS:
            self._walked, self._rest = "", _WALK
        else:
            self._walked = str(keys[-1][0])
        if empty := [str(key) for key, is_empty in keys if is_empty]:
            # again in the statement: something may have come since
            database.run(
                f"DELETE FROM queue WHERE key IN (SELECT value FROM json_each(?)) AND {_EMPTY}",
                msgspec.json.encode(empty).decode(),
            )

    def _discard(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            database.close()
