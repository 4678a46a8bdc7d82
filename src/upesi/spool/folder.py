"""The spool's folder: finding it, making it, locking it, and refusing one that is not what it was.

spool.db, -wal, -shm    the database
bodies/, tmp/           `bodies`
lock                    held by the one instance that administers this spool; its pid is in it
members.lock            held, shared, by every worker: recovery must not start while one of an earlier instance lives
../.<name>.instance     which spool belongs here, kept outside, so that an unmounted, emptied or replaced folder is noticed (STO-07)
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import time
import uuid
from pathlib import Path

from upesi.database.errors import DatabaseError
from upesi.database.sqlite import Database
from upesi.database.wal import sync_folder
from upesi.spool.bodies import BodyFolder
from upesi.spool.schema import DATABASE_NAME, check_version, complete, create
from upesi.spool.store import SpoolError, SpoolLocked

__all__ = ["FolderLock", "SpoolFolder", "join_members"]

_LOCK = "lock"
_MEMBERS = "members.lock"
_INSTANCE = "instance"
_POLL = 0.05


class FolderLock:
    """A lock on a file, ours until `close` or the end of the process, however it ends."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path, how: int, wait: float = 0.0) -> None:
        """Lock `path` (fcntl.LOCK_EX or LOCK_SH), trying for `wait` seconds; raise SpoolLocked or SpoolError."""
        try:
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SpoolError(f"cannot open {path}: {error}") from error
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(self._descriptor, how | fcntl.LOCK_NB)
                return
            except OSError as error:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
                    os.close(self._descriptor)
                    raise SpoolLocked(f"{path} is held by another process (pid {holder or 'unknown'})") from error
                time.sleep(_POLL)

    def write_pid(self) -> None:
        """Say in the file who holds it."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Unlock; again is harmless."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def join_members(folder: Path) -> FolderLock:
    """Take a worker's share of the members' lock; raise SpoolLocked while a recovery runs."""
    return FolderLock(folder / _MEMBERS, fcntl.LOCK_SH, 5.0)


class SpoolFolder:
    """The folder at `path`, locked for this instance."""

    def __init__(self, path: Path, owner: str = "") -> None:
        """Lock the folder, made if it is not there; raise SpoolLocked where another instance has it, SpoolError otherwise."""
        self.path = path
        self._owner = owner
        self._marker = path.parent / f".{path.name}.instance"
        self.database = path / DATABASE_NAME
        # first: an empty folder in the place of a spool that is not mounted would look like a spool that was emptied
        self._refuse_replacement()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SpoolError(f"cannot make the spool's folder: {error}") from error
        self._lock = FolderLock(path / _LOCK, fcntl.LOCK_EX)
        self._lock.write_pid()

    def _expected(self) -> str:
        try:
            return self._marker.read_text("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise SpoolError(f"cannot read {self._marker}: {error}") from error

    def _refuse_replacement(self) -> None:
        """Raise SpoolError where a spool was here before and is not now: never a silent new, empty queue."""
        if self._exists():
            return
        # what exists only after the database does: a crash while the first spool was being made leaves neither
        traces = [name for name in (_INSTANCE, DATABASE_NAME + "-wal") if (self.path / name).exists()]
        if traces:
            raise SpoolError(
                f"{self.database} is missing although {', '.join(traces)} is there: restore it, or move the rest away"
            )
        if self._expected():
            raise SpoolError(
                f"the spool that belongs in {self.path} is not there (not mounted? removed?). "
                f"To begin with an empty one, remove {self._marker}"
            )

    def _exists(self) -> bool:
        try:
            found = os.lstat(self.database)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SpoolError(f"cannot look at {self.database}: {error}") from error
        if not stat.S_ISREG(found.st_mode) or found.st_size == 0:
            raise SpoolError(f"{self.database} is not a regular file with something in it")
        return True

    def open(self, bodies: BodyFolder, now: float) -> Database:
        """Open the database, made if this is a new spool; raise SpoolError or DatabaseError."""
        if not self._exists():
            self._create(bodies, now)
        self._narrow()
        database = Database.open(self.database)
        try:
            check_version(database)
            self._check_instance(database)
            complete(database)
        except BaseException:
            database.close()
            raise
        return database

    def _create(self, bodies: BodyFolder, now: float) -> None:
        # under another name until it is whole, so that a crash here does not leave what looks like a spool
        draft = self.database.with_name(DATABASE_NAME + ".new")
        for leftover in self.path.glob(DATABASE_NAME + ".new*"):
            leftover.unlink()
        try:
            # SQLite gives its log and index the mode of the database
            _write_new(draft, "")
        except OSError as error:
            raise SpoolError(f"cannot make the spool: {error}") from error
        database = Database.open(draft, create=True)
        try:
            create(database, str(uuid.uuid4()), now)
        finally:
            database.close()
        try:
            bodies.create()
            self._give_away()
            os.rename(draft, self.database)
            for leftover in self.path.glob(DATABASE_NAME + ".new*"):
                leftover.unlink()
            sync_folder(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise SpoolError(f"cannot make the spool: {error}") from error

    def _narrow(self) -> None:
        """Take away what others may do with files that an earlier program made with wider modes."""
        names = (DATABASE_NAME, DATABASE_NAME + "-wal", DATABASE_NAME + "-shm", _INSTANCE)
        for path in (self.path / name for name in names):
            try:
                if not path.is_symlink():
                    path.chmod(0o600)
            except OSError:
                # not there, or not ours; the folder itself is closed to others
                continue

    def _give_away(self) -> None:
        """Let the user that workers become own all of it; SQLite gives its log the owner of its database."""
        if not self._owner or os.geteuid() != 0:
            return
        user = pwd.getpwnam(self._owner)
        if self._marker.exists():
            os.chown(self._marker, user.pw_uid, user.pw_gid, follow_symlinks=False)
        for folder, _, files in os.walk(self.path):
            os.chown(folder, user.pw_uid, user.pw_gid)
            for name in files:
                # never what a link leads to: whoever can write here would own any file of the machine
                os.chown(os.path.join(folder, name), user.pw_uid, user.pw_gid, follow_symlinks=False)

    def _check_instance(self, database: Database) -> None:
        found = str(database.value("SELECT id FROM instance"))
        expected = self._expected()
        if expected and found != expected:
            raise SpoolError(
                f"the spool in {self.path} is instance {found}, not {expected} that was here before. "
                f"If that is meant, remove {self._marker}"
            )
        for path in (self.path / _INSTANCE, self._marker):
            if not path.exists():
                try:
                    _write_new(path, found + "\n")
                except OSError:
                    # a parent that is not ours to write to: replacement by an empty folder goes unnoticed there, all else works
                    pass

    def exclude_members(self) -> FolderLock:
        """Wait for workers of an earlier instance to end, and keep new ones out; raise SpoolLocked."""
        return FolderLock(self.path / _MEMBERS, fcntl.LOCK_EX, 5.0)

    def hand_over(self) -> None:
        """Give the files made meanwhile to the workers' user; raise SpoolError."""
        try:
            self._give_away()
        except (OSError, KeyError) as error:
            raise SpoolError(f"cannot give the spool to {self._owner}: {error}") from error

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.close()


def _write_new(path: Path, text: str) -> None:
    """Make a file that only we may read; raise OSError, also where it is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def database_failure(error: DatabaseError) -> SpoolError:
    """Return a database's error as the spool's, with what to do where that is known."""
    return SpoolError(f"the spool cannot be used: {error}")
