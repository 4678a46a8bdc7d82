"""A text file as a table: one key a line, then its values, `#` before comments. Read again when it has changed.

For what is no secret (aliases, lists, places); accounts have `file`. What cannot be read changes nothing: the old contents stay in force.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from upesi.lookup.failures import LookupFailed
from upesi.lookup.pool import WorkPool

__all__ = ["MAX_WORDS_FILE", "WordsTable", "read_words"]

# some 500,000 lines; larger tables belong into a database, which is not read whole at every change
MAX_WORDS_FILE = 32 * 1024 * 1024
# Seconds between two looks at the file: one stat(2) a second however many ask
_LOOK_EVERY = 1.0

Words = dict[str, tuple[str, ...]]
Stamp = tuple[int, int, int]
Emit = Callable[[str, Mapping[str, str | int]], None]


class WordsTable:
    """The lines of `path`; keys differ by more than the case of letters. `emit` takes `lookup.reloaded` and `lookup.refused`."""

    __slots__ = ("_emit", "_looked", "_now", "_path", "_pool", "_stamp", "_words")

    def __init__(self, path: Path, pool: WorkPool, now: Callable[[], float], emit: Emit) -> None:
        """Read the file; raise LookupFailed. `now` is a monotonic clock; a changed file is read in `pool`."""
        self._path = path
        self._pool = pool
        self._now = now
        self._emit = emit
        self._looked = now()
        self._words, self._stamp = read_words(path)

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the values of `key`."""
        now = self._now()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            await self._look()
        return self._words.get(key.lower())

    async def close(self) -> None:
        """Let the thread end."""
        self._pool.close()

    async def _look(self) -> None:
        try:
            stamp = _stamp(os.stat(self._path))
        except OSError:
            # it is being replaced, or gone: what was read stands
            return
        if stamp == self._stamp:
            return
        # noted at once, so that a file that cannot be read is complained about once and not every second
        self._stamp = stamp
        try:
            self._words, self._stamp = await self._pool.run(read_words, self._path)
        except LookupFailed as error:
            self._emit("lookup.refused", {"file": str(self._path), "error": str(error)})
        else:
            self._emit("lookup.reloaded", {"file": str(self._path), "keys": len(self._words)})


def read_words(path: Path) -> tuple[Words, Stamp]:
    """Return the values of every key, and what tells this state of the file from another; raise LookupFailed."""
    try:
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            data = file.read(MAX_WORDS_FILE + 1)
    except OSError as error:
        raise LookupFailed(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_WORDS_FILE:
        raise LookupFailed(f"{path}: is larger than {MAX_WORDS_FILE // 2**20} MiB")
    words: Words = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            key, *values = line.decode().split() or ["#"]
        except UnicodeDecodeError:
            raise LookupFailed(f"{path}:{number}: is not UTF-8") from None
        if key.startswith("#"):
            continue
        if key.lower() in words:
            raise LookupFailed(f"{path}:{number}: names {key} for the second time")
        words[key.lower()] = tuple(values)
    return words, stamp


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
