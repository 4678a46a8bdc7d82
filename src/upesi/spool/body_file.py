"""One large body as a file: read, checked, its beginning written over, made durable.

Never compiled: it lets go of its descriptor when nobody holds it any more, and mypyc runs `__del__` of what was never made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from upesi.mail.body import READ_SIZE
from upesi.spool.checksum import crc_of_changed
from upesi.spool.store import SpoolDamaged, SpoolError, SpoolFull

__all__ = ["FileBody", "error_from"]

_FULL = frozenset({28, 122, 27})  # ENOSPC, EDQUOT, EFBIG


def error_from(error: OSError, what: str) -> SpoolError:
    """Return what a client is to be told of `error`: SpoolFull where there is no room, else SpoolError."""
    kind = SpoolFull if error.errno in _FULL else SpoolError
    return kind(f"{what}: {error}")


class FileBody:
    """A body in a file, read through one descriptor that is opened when it is first needed.

    A reader that holds it may go on reading after the file has been unlinked.
    """

    __slots__ = ("_descriptor", "_size", "_sum", "path")

    def __init__(self, path: Path, size: int, sum: int, descriptor: int = -1) -> None:
        self.path = path
        self._size = size
        self._sum = sum
        self._descriptor = descriptor

    @property
    def size(self) -> int:
        """Octets in all."""
        return self._size

    @property
    def sum(self) -> int:
        """CRC-32 of all octets."""
        return self._sum

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` octets from `start`; raise SpoolError, and SpoolDamaged where the file alone is missing."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            return os.pread(self._descriptor, length, start)
        except FileNotFoundError as missing:
            # without its folder the spool may only be unmounted, and be back soon; a lost file never comes back by itself
            if not self.path.parent.is_dir():
                raise error_from(missing, "cannot read a body") from missing
            raise SpoolDamaged("body file is not there") from missing
        except OSError as error:
            raise error_from(error, "cannot read a body") from error

    def chunks(self) -> Iterator[bytes]:
        """Yield all octets in order; raise SpoolError, and SpoolDamaged where the file is shorter than it was."""
        start = 0
        while start < self._size:
            piece = self.read(start, min(READ_SIZE, self._size - start))
            if not piece:
                raise SpoolDamaged(f"body file is cut off at {start} of {self._size} octets")
            start += len(piece)
            yield piece

    def verify(self) -> None:
        """Read it all and raise SpoolDamaged unless size and checksum are right."""
        found = 0
        for piece in self.chunks():
            found = crc32(piece, found)
        if found != self._sum or self.read(self._size, 1):
            raise SpoolDamaged("body file failed its checksum")

    def begin_with(self, head: bytes) -> None:
        """Write `head` over as many octets of the beginning; raise SpoolFull or SpoolError, and then the body is lost.

        Only for a file that no row names: a crash in the midst of it leaves neither the old nor the new.
        """
        old = self.read(0, len(head))
        try:
            view = memoryview(head)
            while view:
                written = os.pwrite(self._descriptor, view, len(head) - len(view))
                view = view[written:]
        except OSError as error:
            raise error_from(error, "cannot write a body") from error
        self._sum = crc_of_changed(self._sum, old, head, self._size)

    def sync(self) -> None:
        """Make the octets durable; raise OSError. Blocks."""
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Let go of the descriptor."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()
