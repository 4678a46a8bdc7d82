"""One piece of memory that all workers of the machine share: a mapped file in the spool's folder, its lock, and who is in it.

A worker is a *member* and has a column of its own. That it lives is shown by a lock on one octet of the file, which the kernel takes back
when the process ends, however it ends: nobody must tidy up behind a worker that was killed. The file is never synced; what it holds is
of use until the machine starts anew, and a file of an earlier start is wiped.

Measured with two busy workers on two cores: lock, read, change and unlock take 5 us (half a millisecond at worst); the same through
SQLite without any sync took 25 to 90 us and up to 1.3 s at worst (docs/adr/0004-shared-counters.md).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from upesi.mail.errors import UpesiError

__all__ = ["HEADER", "MEMBERS", "Region", "RegionError"]

# workers at once, with those that a reload retires
MEMBERS = 64
HEADER = 4096
_MAGIC = b"UPESCNT1"
_BOOT = slice(8, 48)
_SECRET = slice(48, 64)
_COLUMNS = slice(64, 64 + MEMBERS)
# open file description locks, unlike those of POSIX, belong to a descriptor: two members in one process are two
_RANGE = struct.Struct("hhqqi4x")
# Milliseconds for which the lock is waited for: its holder is inside some microseconds of arithmetic, unless it was stopped there.
# Then we go on without: a limit that is off by one harms less than a worker that stands still
_PATIENCE = 500
_PAUSES = (0.00002, 0.0002)


class RegionError(UpesiError):
    """The file cannot be had: no room, not ours, or too many members."""


class Region:
    """The mapped file, and our membership in it. `memory` may be changed between `lock` and `unlock` only."""

    __slots__ = ("_columns", "_descriptor", "_live", "_monotonic", "column", "memory", "secret")

    def __init__(
        self, path: Path | None, common: int, column: int, *, boot: str, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Map the file at `path` and become a member; raise RegionError. Without a path the memory is ours alone.

        It has `common` octets (the header among them), and behind them `column` octets for each member; only those of members
        that were ever there take room on the disk. `boot` names this start of the machine: counts of another are wiped.
        """
        size = common + MEMBERS * column
        self._monotonic = monotonic
        self._columns = b""
        self._live: tuple[int, ...] = ()
        self._descriptor = _open(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._prepare(boot.encode()[: _BOOT.stop - _BOOT.start], common, size)
            self.memory = mmap.mmap(self._descriptor, size)
            self.secret = self.memory[_SECRET]
            self.column = self._free_column()
            self._allocate(common + self.column * column, column)
            self.memory[_COLUMNS.start + self.column] = 1
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        except OSError as error:
            os.close(self._descriptor)
            raise RegionError(f"cannot use {path}: {error}") from error
        except RegionError:
            os.close(self._descriptor)
            raise

    def _prepare(self, boot: bytes, common: int, size: int) -> None:
        """Make the file, or begin it anew where what is in it was counted before the machine started: nobody has it open then."""
        boot = boot.ljust(_BOOT.stop - _BOOT.start, b"\0")
        header = os.pread(self._descriptor, HEADER, 0)
        if header[:8] == _MAGIC and header[_BOOT] == boot and os.fstat(self._descriptor).st_size == size:
            return
        os.ftruncate(self._descriptor, 0)
        os.ftruncate(self._descriptor, size)
        self._allocate(0, common)
        # which key lies where must not be for strangers to choose
        os.pwrite(self._descriptor, _MAGIC + boot + os.urandom(_SECRET.stop - _SECRET.start), 0)

    def _allocate(self, start: int, size: int) -> None:
        """Have the blocks of a part: a write into a hole of a mapped file on a full disk would be a SIGBUS."""
        os.posix_fallocate(self._descriptor, start, size)

    def _free_column(self) -> int:
        for column in range(MEMBERS):
            if self._try(column, fcntl.F_WRLCK):
                return column
        raise RegionError(f"all {MEMBERS} places for workers are taken")

    def _try(self, column: int, kind: int) -> bool:
        """Lock the octet of `column`, or let go of it; whether that was done."""
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _RANGE.pack(kind, os.SEEK_SET, column, 1, 0))
        except OSError:
            return False
        return True

    def lock(self) -> None:
        """Have the memory to ourselves."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._wait()

    def _wait(self) -> None:
        end = self._monotonic() + _PATIENCE / 1000
        pause, longest = _PAUSES
        while self._monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, longest)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            return

    def unlock(self) -> None:
        """Let the others."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    @property
    def columns(self) -> tuple[int, ...]:
        """The columns that hold something, ours among them. Call it under the lock."""
        octets = self.memory[_COLUMNS]
        if octets != self._columns:
            self._columns = octets
            self._live = tuple(column for column, used in enumerate(octets) if used)
        return self._live

    def bury(self, wipe: Callable[[int], None]) -> bool:
        """Let `wipe` clear the columns of members that have ended; whether there were any. Call it under the lock."""
        found = False
        for column in self.columns:
            # our own lock is no hindrance to ourselves
            if column != self.column and self._try(column, fcntl.F_WRLCK):
                wipe(column)
                self.memory[_COLUMNS.start + column] = 0
                self._try(column, fcntl.F_UNLCK)
                found = True
        return found

    def close(self) -> None:
        """Leave. The next who looks clears our column."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self.memory.close()
            os.close(descriptor)


def _open(path: Path | None) -> int:
    try:
        if path is None:
            return os.memfd_create("upesi-counters", os.MFD_CLOEXEC)
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RegionError(f"cannot open {path}: {error}") from error
