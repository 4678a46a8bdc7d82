"""Making the write-ahead log durable from outside SQLite, and mending it when that fails (docs/adr/0001-wal-sync.md).

A commit with `Sync.CALLER` only appends to the log, so the write lock is held for microseconds. `WalSync.sync` then
makes everything up to that commit durable; the syncs of several processes overlap in the kernel. When a sync fails, the
kernel has marked the pages clean although they are not on the disk: syncing again would report success and prove nothing.
So the log is *suspect* from then on, for every process (a mark beside the database says so), until `mend` has verified
the log's own checksums, written the same octets again and synced those.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from upesi.database.errors import DatabaseCorrupt, DatabaseFull, DatabaseGone, DatabaseIoError
from upesi.database.sqlite import PAGE_SIZE, Checkpoint, Database

__all__ = ["WalState", "WalSync", "mend", "sync_folder"]

_HEADER = 32
_FRAME_HEADER = 24
_PIECE = 1 << 20


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wal(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


class WalState:
    """Marks beside a database that all its processes see. They need not be durable: a crash leads to recovery, which needs none.

    *suspect*: a sync of the log failed; nobody acknowledges anything until it has been mended. *stale*: a checkpoint failed; what the
    log says has been copied may not be on the disk, so nobody runs another until a start with recovery copies it all again.
    """

    __slots__ = ("_spare", "_stale", "_suspect")

    def __init__(self, database: Path) -> None:
        # an empty file that `clear` makes in good times: a second name for it needs no inode, no block and no descriptor
        self._spare = str(database) + "-spare"
        self._suspect = str(database) + "-suspect"
        self._stale = str(database) + "-stale"

    @property
    def suspect(self) -> bool:
        """Whether the log must be mended first."""
        return os.path.exists(self._suspect)

    @property
    def stale(self) -> bool:
        """Whether checkpoints have stopped."""
        return os.path.exists(self._stale)

    def mark_suspect(self) -> None:
        """Say that the log is suspect; raises nothing."""
        self._mark(self._suspect)

    def mark_stale(self) -> None:
        """Say that no checkpoint may be run; raises nothing."""
        self._mark(self._stale)

    def clear_suspect(self) -> None:
        """Say that the log has been mended; raise OSError."""
        Path(self._suspect).unlink(missing_ok=True)

    def clear(self) -> None:
        """After recovery, with no other process at it: both are things of the past. Raise OSError."""
        if self.suspect:
            self.clear_suspect()
        if self.stale:
            Path(self._stale).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # without it a mark needs an inode, which is no reason not to start
            _create(self._spare)

    def _mark(self, path: str) -> None:
        for make in (self._link, _create):
            try:
                make(path)
                return
            except FileExistsError:
                return
            except OSError:
                # The kernel tells each descriptor that is open once, and `syncer` remembers it. Only a process that opens the log
                # between this and our own mending is told by nothing.
                continue

    def _link(self, path: str) -> None:
        os.link(self._spare, path, follow_symlinks=False)


def _create(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))


class WalSync:
    """A descriptor of the log, opened while a connection of this process keeps the file from being removed."""

    __slots__ = ("_database", "_descriptor", "_files", "_state", "_wal")

    def __init__(self, database: Path) -> None:
        """Open the log of `database`; raise DatabaseGone or DatabaseIoError."""
        self._descriptor = -1
        self._database = str(database)
        self._wal = str(_wal(database))
        self._state = WalState(database)
        try:
            self._descriptor = os.open(self._wal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            found = os.fstat(self._descriptor)
            self._files = ((found.st_dev, found.st_ino), self._identity(self._database))
            # the log's name must be durable before anything in it is relied upon
            sync_folder(database.parent)
        except FileNotFoundError as error:
            self.close()
            raise DatabaseGone(f"the log of the database is not there: {error}") from error
        except OSError as error:
            self.close()
            raise DatabaseIoError(f"cannot open the log: {error}") from error

    @staticmethod
    def _identity(path: str) -> tuple[int, int]:
        found = os.stat(path)
        return found.st_dev, found.st_ino

    @property
    def suspect(self) -> bool:
        """Whether some process failed to sync the log and nobody has mended it since."""
        return self._state.suspect

    def sync(self) -> None:
        """Make every commit up to now durable.

        Raises DatabaseIoError if that failed, here or elsewhere: the log is suspect. Raises DatabaseGone if the files are no longer
        those at the path (folder removed or replaced): what was written went to nowhere.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._state.mark_suspect()
            raise DatabaseIoError(f"cannot sync the log: {error}") from error
        if self.suspect:
            # the kernel tells every descriptor that was open; one that was opened after somebody else was told is told nothing
            raise DatabaseIoError("the log is suspect: another process failed to sync it")
        self.check()

    def check(self) -> None:
        """Raise DatabaseGone if the database or its log is not the file that was opened. Two stats, 3 microseconds."""
        try:
            found = (self._identity(self._wal), self._identity(self._database))
        except OSError as error:
            raise DatabaseGone(f"the database has gone: {error}") from error
        if found != self._files:
            raise DatabaseGone("the database has been replaced by another file")

    def close(self) -> None:
        """Let go; raises nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            try:
                os.close(descriptor)
            except OSError:
                # EIO on close reports earlier write-back, which no acknowledgement ever rested on
                pass


def mend(database: Path) -> None:
    """Make a suspect log trustworthy again, or raise and leave it suspect.

    Holds the write lock meanwhile: nothing is appended and the log cannot start anew. Raises DatabaseCorrupt if the log
    that is read back is not the log that was written (only a restart, which cuts it there, can help).
    """
    holder = Database.open(database)
    looker = Database.open(database)
    try:
        holder.run("BEGIN IMMEDIATE")
        looker.rows("SELECT count(*) FROM sqlite_schema")
        frames, _ = looker.checkpoint(Checkpoint.LOOK)
        size = _HEADER + frames * (_FRAME_HEADER + PAGE_SIZE) if frames else 0
        _rewrite(database, size, frames)
        WalState(database).clear_suspect()
    except OSError as error:
        raise _failure(error) from error
    finally:
        holder.undo()
        holder.close()
        looker.close()


def _failure(error: OSError) -> DatabaseIoError | DatabaseFull:
    kind = DatabaseFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else DatabaseIoError
    return kind(f"cannot mend the log: {error}")


def _rewrite(database: Path, size: int, frames: int) -> None:
    # The database file itself is never opened here: closing any descriptor of it would drop the POSIX locks that SQLite holds on it for
    # this process. The log carries no locks.
    copy = database.with_name(f"{database.name}-mend{os.getpid()}")
    wal = _wal(database)
    try:
        _verify(copy, wal, size, frames)
        with wal.open("r+b", buffering=0) as log:
            for start in range(0, size, _PIECE):
                piece = os.pread(log.fileno(), min(_PIECE, size - start), start)
                os.pwrite(log.fileno(), piece, start)
            os.fdatasync(log.fileno())
    finally:
        for name in (copy, _wal(copy), copy.with_name(copy.name + "-shm")):
            name.unlink(missing_ok=True)


def _verify(copy: Path, wal: Path, size: int, frames: int) -> None:
    """Let SQLite's own recovery count the frames whose checksums hold; raise DatabaseCorrupt if some do not."""
    if not frames:
        return
    # recovery wants a database beside the log, with the same page size; what is in it does not matter
    Database.open(copy, create=True).close()
    with wal.open("rb") as source, _wal(copy).open("wb") as target:
        for start in range(0, size, _PIECE):
            target.write(source.read(min(_PIECE, size - start)))
    probe = Database.open(copy)
    try:
        probe.rows("PRAGMA schema_version")
        valid, _ = probe.checkpoint(Checkpoint.LOOK)
    finally:
        probe.close()
    if valid != frames:
        raise DatabaseCorrupt(f"only {valid} of {frames} frames of the log can be read back")
