"""How much room the spool's disk has, and how much of it the write-ahead log may take.

The log is not free room: it must be copied into the database before its place can be used again, and copying may need as much once more.
So on a small disk it is bounded by a part of the disk, and a start is refused where the free-space mark and the log together are more
than there is.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from upesi.spool.store import SpoolError

__all__ = ["LOG", "Room", "check_room"]

_MB = 10**6
# A log of this size fits the page cache and takes well under a second to recover
LOG = 64 * 2**20
# On a small disk: this part of it, but no less than a few batches
_LOG_PART = 16
_LOG_LEAST = 2**20
# Names that other programs need as well
_MIN_INODES = 64


class Room(msgspec.Struct, frozen=True):
    """Octets of a file system: all of it, and what is free for us; `names` says whether new files can be made."""

    total: int
    free: int
    names: bool

    @classmethod
    def of(cls, folder: Path) -> Room:
        """Measure; raise OSError."""
        found = os.statvfs(folder)
        names = found.f_files == 0 or found.f_favail >= _MIN_INODES
        return cls(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, names)

    @property
    def log(self) -> int:
        """Octets that the log may take before it starts anew."""
        return min(LOG, max(_LOG_LEAST, self.total // _LOG_PART))


def check_room(folder: Path, min_free: int) -> str:
    """Return what an operator should know of the disk of the spool, empty if all is well; raise SpoolError where it could never work."""
    try:
        room = Room.of(folder)
    except OSError as error:
        raise SpoolError(f"cannot ask how much room there is in {folder}: {error}") from error
    needed = min_free + 2 * room.log
    if room.total < needed:
        raise SpoolError(
            f"the disk of {folder} has {_mb(room.total)}, and spool.min_free with the log needs {_mb(needed)}: no mail would ever "
            "be taken. Use a larger disk, or set a smaller spool.min_free"
        )
    if room.free < min_free:
        return (
            f"{_mb(room.free)} are free in {folder}, less than spool.min_free ({_mb(min_free)}): new mail is answered 452 until there "
            "is more room"
        )
    if min_free < room.log:
        return (
            f"spool.min_free is {_mb(min_free)}, and the log may take {_mb(room.log)}: on a full disk the log could not be copied, "
            "and queued mail would wait until somebody makes room"
        )
    return ""


def _mb(octets: int) -> str:
    return f"{octets / _MB:.0f} MB"
