"""A file of accounts as a table, read again when it has changed. What cannot be read changes nothing: the old accounts stay in force."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from upesi.lookup.account_file import Stamp, folded, read_file, stamp_of
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
        """Read the file; raise FileRefused. `now` is a monotonic clock; a changed file is read in `pool`."""
        self._path = path
        self._pool = pool
        self._now = now
        self._emit = emit
        self._looked = now()
        self._stamp: Stamp | None
        self.words: Words
        self.words, self._stamp = read_file(path)

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the words of an account, whatever the case of its letters."""
        now = self._now()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            await self._look()
        return self.words.get(folded(key))

    async def close(self) -> None:
        """Nothing is held."""

    async def _look(self) -> None:
        try:
            stamp = stamp_of(os.stat(self._path))
        except OSError:
            stamp = None
        if stamp == self._stamp:
            return
        try:
            self.words, self._stamp = await self._pool.run(read_file, self._path)
        except FileRefused as error:
            # complained about once, not every second
            self._stamp = stamp
            self._emit("accounts.refused", {"file": str(self._path), "error": str(error)})
        else:
            self._emit("accounts.reloaded", {"file": str(self._path), "accounts": len(self.words)})
