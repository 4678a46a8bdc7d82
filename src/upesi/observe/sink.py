"""The writer behind `Events`: one thread, one file descriptor, a bounded amount of waiting lines.

A disk that stalls, a disk that is full and a pipe that nobody reads must cost log lines and not mail (LOG-02). Non-blocking mode is no
way out: files ignore it, and on standard error it would change the terminal of whoever started us. So a thread writes, and what it
cannot keep up with is dropped and counted.
"""

from __future__ import annotations

import os
import queue
import select
import stat
import threading
import time

__all__ = ["FileSink"]

# some ten seconds of a busy worker; more would only hide the trouble
_MAX_WAITING = 4_000_000
# how long the end of the process waits for a slow disk or a blocked pipe
_CLOSE_SECONDS = 2.0
_ROTATION_SECONDS = 1.0


class FileSink:
    """Appends lines to the file `path`, or writes them to the descriptor `fd`; a rotated file is opened anew within a second.

    Raise OSError where `path` cannot be opened at the start; later trouble drops lines.
    """

    __slots__ = (
        "_closing", "_dropped", "_failed", "_fd", "_limit", "_lines", "_opened", "_path", "_pipe", "_queue", "_taken",
        "_thread", "_torn", "_written",
    )  # fmt: skip

    def __init__(self, path: str = "", fd: int = 2, *, limit: int = _MAX_WAITING) -> None:
        self._path = path
        self._fd = _open(path) if path else fd
        mode = os.fstat(self._fd).st_mode
        self._pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        self._limit = limit
        self._queue: queue.SimpleQueue[tuple[bytes, int] | None] = queue.SimpleQueue()
        # each counter has one writer, so that no lock is needed: `_taken` and `_dropped` the loop, the others the thread
        self._taken = 0
        self._written = 0
        self._dropped = 0
        self._failed = 0
        self._opened = time.monotonic()
        self._torn = False
        self._closing = threading.Event()
        # daemon: a pipe that is blocked for ever must not keep the process
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """How many lines were lost: there was no room, or the write failed."""
        return self._dropped + self._failed

    def write(self, lines: bytes, count: int) -> None:
        """Take `count` whole lines; drop them where too many wait already."""
        if self._taken - self._written + len(lines) > self._limit or not self._thread.is_alive():
            self._dropped += count
            return
        self._taken += len(lines)
        self._queue.put((lines, count))

    def close(self) -> None:
        """Wait for the thread to write what it has, at most two seconds."""
        self._queue.put(None)
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS)
        # a thread that still hangs in a write keeps its descriptor: the number must not be reused under it
        if self._path and not self._thread.is_alive():
            os.close(self._fd)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            lines, count = item
            try:
                self._reopen()
                self._write_all(lines)
            except OSError:
                self._failed += count
            self._written += len(lines)

    def _write_all(self, lines: bytes) -> None:
        if self._torn:
            # the disk was full in the middle of a line: the next one starts on its own
            lines = b"\n" + lines
        self._torn = False
        view = memoryview(lines)
        while view:
            written = self._write_some(view)
            self._torn = view[written - 1] != 0x0A if written else self._torn
            view = view[written:]

    def _write_some(self, view: memoryview) -> int:
        if not self._pipe:
            return os.write(self._fd, view)
        # workers share standard error: a pipe keeps writes up to PIPE_BUF whole, and cutting at line ends keeps lines whole
        chunk = view[: select.PIPE_BUF]
        end = bytes(chunk).rfind(b"\n") + 1
        try:
            return os.write(self._fd, chunk[:end] if end else chunk)
        except BlockingIOError:
            # whoever gave us the descriptor made it non-blocking
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(1000)
            if self._closing.is_set():
                raise
            return 0

    def _reopen(self) -> None:
        """Open the file anew where it was moved away or removed (logrotate)."""
        now = time.monotonic()
        if not self._path or now - self._opened < _ROTATION_SECONDS:
            return
        self._opened = now
        ours = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
            moved = (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)
        except FileNotFoundError:
            moved = True
        if moved:
            fresh = _open(self._path)
            os.close(self._fd)
            self._fd = fresh
            self._torn = False


def _open(path: str) -> int:
    # 0640: addresses are personal data; the group may be the log collector's
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
