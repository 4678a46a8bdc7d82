"""Message bodies on their way in, and the large ones that stay files beside the database.

    tmp/<pid>-...-<n>      a body that a session is receiving; worth nothing after a crash, removed when its worker is buried
    bodies/<xx>/<id>       the body of an accepted message, named by its message id (xx: its last octet, 256 folders)

A body file gets its name by link(2) and is synced with its folder *before* the row that names it is committed, and is
unlinked *after* the commit that removed the row is durable. So a crash leaves at most a file without a row (removed at
start), never a row without its file. Received octets are written once: the file that a session filled is the spool's copy.

Writing goes to the page cache in pieces of 256 kB, which is quick enough for the event loop; syncing is the writer thread's.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zlib import crc32

from upesi.database.wal import sync_folder
from upesi.limits.memory import MemoryBudget
from upesi.mail.body import READ_SIZE, Body, MemoryBody
from upesi.mail.ids import MessageId
from upesi.spool.body_file import FileBody, error_from

__all__ = ["BodyFolder", "BodyWriter"]

# Bodies of this size stay in memory even where that is short: a file costs two syncs, and small mail is in memory for a moment only
_SMALL: Final = 16 * 1024


class BodyWriter:
    """Receives one body: in memory up to the inline limit, then in a file of the spool; earlier where sessions hold too much together.

    Either `finish` or `discard` must be called; after `finish`, `discard` removes the session's name of the file (harmless once the
    message has been accepted: the spool has a name of its own by then) and must be called as well.
    """

    __slots__ = ("_budget", "_descriptor", "_folder", "_held", "_limit", "_path", "_pieces", "_size", "_sum")

    def __init__(self, folder: BodyFolder, budget: MemoryBudget) -> None:
        self._folder = folder
        self._budget = budget
        # octets in memory, which the budget counts too
        self._held = 0
        self._limit = folder.inline_limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._sum = 0
        self._descriptor = -1
        self._path: Path | None = None

    @property
    def size(self) -> int:
        """Octets so far."""
        return self._size

    def write(self, chunk: bytes) -> None:
        """Add octets; raise SpoolFull or SpoolError (the body is then lost, `discard` it)."""
        size = len(chunk)
        self._size += size
        self._held += size
        self._pieces.append(chunk)
        budget = self._budget
        budget.used += size
        if (self._size > self._limit and (self._descriptor < 0 or self._held >= READ_SIZE)) or (
            self._held > _SMALL and budget.tight
        ):
            self._spill()

    def _spill(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._sum = crc32(data, self._sum)
        try:
            if self._descriptor < 0:
                self._path, self._descriptor = self._folder.temporary()
            view = memoryview(data)
            while view:
                # a short write is followed by the error that explains it
                written = os.write(self._descriptor, view)
                view = view[written:]
        except OSError as error:
            raise error_from(error, "cannot write a body") from error
        self._let_go()

    def _let_go(self) -> None:
        self._budget.used -= self._held
        self._held = 0

    def finish(self) -> Body:
        """Return what was written as a body; raise SpoolFull or SpoolError."""
        if self._descriptor < 0:
            data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces.clear()
            return MemoryBody(data)
        if self._pieces:
            self._spill()
        descriptor, self._descriptor = self._descriptor, -1
        assert self._path is not None
        return FileBody(self._path, self._size, self._sum, descriptor)

    def discard(self) -> None:
        """Forget it all; raises nothing."""
        self._pieces.clear()
        self._let_go()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        path, self._path = self._path, None
        if path is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                # what stays in tmp/ is removed at the next start
                pass


class BodyFolder:
    """The two folders of bodies below a spool."""

    __slots__ = ("_bodies", "_numbers", "_prefix", "_tmp", "inline_limit")

    def __init__(self, spool: Path, inline_limit: int) -> None:
        self._bodies = spool / "bodies"
        self._tmp = spool / "tmp"
        self._numbers = itertools.count(1)
        self._prefix = f"{os.getpid()}-{id(self):x}"
        self.inline_limit = inline_limit

    def create(self) -> None:
        """Make the folders, durably; raise OSError."""
        self._tmp.mkdir(mode=0o700, exist_ok=True)
        self._bodies.mkdir(mode=0o700, exist_ok=True)
        for number in range(256):
            (self._bodies / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)
        sync_folder(self._bodies)
        sync_folder(self._bodies.parent)

    def writer(self, budget: MemoryBudget | None = None) -> BodyWriter:
        """Return a writer for one body that is coming in, whose memory counts against `budget`."""
        return BodyWriter(self, budget or MemoryBudget(sys.maxsize))

    def temporary(self) -> tuple[Path, int]:
        """Create a file in tmp/; return its path and descriptor. Raise OSError."""
        path = self._temporary_path()
        return path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def _temporary_path(self) -> Path:
        return self._tmp / f"{self._prefix}-{next(self._numbers)}"

    def path(self, id: MessageId) -> Path:
        """Return where the body of message `id` lies if it is a file."""
        return self._bodies / f"{id[-1]:02x}" / id.hex()

    def keep(self, id: MessageId, body: Body) -> bool:
        """Give message `id` its own durable copy of `body`; return whether it had none. Blocks: the writer thread's.

        Raises OSError or SpoolError. A copy that it had is of an attempt that failed behind this point, or of a commit that was refused
        and could not be taken back; the same octets either way.
        """
        path = self.path(id)
        source = body if isinstance(body, FileBody) else self._written(body)
        try:
            source.sync()
            new = self._named(source.path, path)
            try:
                sync_folder(path.parent)
            except OSError:
                if new:
                    # no row was ever written for it
                    path.unlink(missing_ok=True)
                raise
            return new
        finally:
            if source is not body:
                source.close()
                source.path.unlink(missing_ok=True)

    def _named(self, source: Path, path: Path) -> bool:
        """Give the file `source` the name `path` as well, whatever had it; return whether nothing had."""
        try:
            os.link(source, path)
        except FileExistsError:
            # in one step: a row may name it, and a crash between two would leave that without a body
            beside = self._temporary_path()
            os.link(source, beside)
            beside.replace(path)
            # two names of one file are left as they are
            beside.unlink(missing_ok=True)
            return False
        return True

    def _written(self, body: Body) -> FileBody:
        writer = self.writer()
        writer._limit = -1
        try:
            for piece in body.chunks():
                writer.write(piece)
            finished = writer.finish()
        except BaseException:
            writer.discard()
            raise
        assert isinstance(finished, FileBody)
        return finished

    def stored(self, id: MessageId, size: int, sum: int) -> FileBody:
        """Return the stored body of message `id`; nothing is opened yet."""
        return FileBody(self.path(id), size, sum)

    def remove(self, id: MessageId) -> None:
        """Remove the body of a message whose row has durably gone; raises nothing: what stays is an orphan."""
        try:
            self.path(id).unlink(missing_ok=True)
        except OSError:
            pass

    def clear_temporary(self) -> int:
        """Remove what sessions left; only while no worker lives. Return how many."""
        removed = 0
        with os.scandir(self._tmp) as entries:
            for entry in entries:
                try:
                    os.unlink(entry.path)
                    removed += 1
                except OSError:
                    # it costs room and nothing else; the next start tries again
                    continue
        return removed

    def clear_temporary_of(self, pid: int) -> int:
        """Remove what the sessions of a worker left that has ended; return how many. Raises nothing: the rest goes at the next start.

        Without it, whoever can make workers die by mail that is never finished fills the disk.
        """
        removed = 0
        try:
            with os.scandir(self._tmp) as entries:
                for entry in entries:
                    if entry.name.startswith(f"{pid}-"):
                        os.unlink(entry.path)
                        removed += 1
        except OSError:
            # the folder has gone, or cannot be changed: nothing that a burial should fail of
            pass
        return removed

    def all_stored(self) -> Iterator[MessageId]:
        """Yield the ids of all body files."""
        for folder in sorted(self._bodies.iterdir()):
            if folder.is_symlink() or not folder.is_dir():
                # not one of ours; left alone
                continue
            # one of 256 at a time, read to its end: whoever asks may stop in the middle (a damaged database)
            for name in os.listdir(folder):
                try:
                    id = MessageId(bytes.fromhex(name))
                except ValueError:
                    # not one of ours; left alone
                    continue
                yield id
