"""A file of accounts as a table, read again when it has changed. What cannot be read changes nothing: the old accounts stay in force."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from upesi.lookup.account_file import Stamp, folded, read_file, stamp_of
from upesi.lookup.failures import LookupFailed
from upesi.lookup.pool import WorkPool
from upesi.lookup.private import FileRefused

__all__ = ["FileTable"]

# Seconds between two looks at the file: a password that was changed counts a second later, and a flood costs one stat(2) a second
_LOOK_EVERY = 1.0

Words = dict[str, tuple[str, ...]]
Emit = Callable[[str, Mapping[str, str | int]], None]


class FileTable:
    """The accounts of `path`. `emit` takes the events `accounts.reloaded` and `accounts.refused`."""

    __slots__ = ("_emit", "_looked", "_now", "_path", "_pool", "_stamp", "words")

    def __init__(self, path: Path, pool: WorkPool, now: Callable[[], float], emit: Emit) -> None:
        """Read the file. `now` is a monotonic clock; a changed file is read in `pool`.

        A start with a file that cannot be used is refused before workers are made. A worker that is born later, in the place of one that
        died, does its other work and has no answer about accounts until the file is mended.
        """
        self._path = path
        self._pool = pool
        self._now = now
        self._emit = emit
        self._looked = now()
        self._stamp: Stamp | None = None
        self.words: Words | None = None
        try:
            self.words, self._stamp = read_file(path)
        except FileRefused as error:
            self._refused(_stamp(path), error)

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the words of an account, whatever the case of its letters; raise LookupFailed where the file was never good."""
        now = self._now()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            await self._look()
        if self.words is None:
            raise LookupFailed("the file of accounts cannot be used")
        return self.words.get(folded(key))

    async def close(self) -> None:
        """Nothing is held."""

    async def _look(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        try:
            words, self._stamp = await self._pool.run(read_file, self._path)
        except FileRefused as error:
            self._refused(stamp, error)
        else:
            self.words = words
            self._emit("accounts.reloaded", {"file": str(self._path), "accounts": len(words)})

    def _refused(self, stamp: Stamp | None, error: FileRefused) -> None:
        # noted, so that it is complained about once and not every second
        self._stamp = stamp
        self._emit("accounts.refused", {"file": str(self._path), "error": str(error)})


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(os.stat(path))
    except OSError:
        return None
