"""A disk that is slow when it is told to: the library of the duel (`bench/duels/slow_sync.c`) between a server and libc."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bench.duels.slow_disk import library
from bench.errors import Unavailable

from integration.server import PATIENCE

__all__ = ["HELD", "SLOW", "SlowDisk"]

# Seconds of a sync while a server gets to know its disk, and after which one ends that nobody lets go
SLOW = 0.1
HELD = 30.0


class SlowDisk:
    """The disk of what is started while `monkeypatch` holds, quick until it is told otherwise; skip, saying so, without a compiler."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        try:
            made = library(folder)
        except Unavailable as error:
            pytest.skip(f"absent: {error}")
        self._file = folder / "sync-us"
        self._take(0.0)
        monkeypatch.setenv("LD_PRELOAD", str(made))
        monkeypatch.setenv("SLOW_SYNC_FILE", str(self._file))

    def _take(self, seconds: float) -> None:
        """Let every sync take so much longer, also those that are under way."""
        new = self._file.with_suffix(".new")
        new.write_text(str(int(seconds * 1e6)))
        new.rename(self._file)

    def meet(self, send: Callable[[], None], enough: int | None = None) -> None:
        """Be slow from now on, and have one message after the other sent until one is answered before its sync; or `enough` of them."""
        self._take(SLOW)
        end = time.monotonic() + PATIENCE
        slow, took = 0, SLOW
        while (slow < enough) if enough else (took >= SLOW or not slow):
            assert time.monotonic() < end, f"{slow} messages waited for their sync; none was answered before"
            start = time.monotonic()
            send()
            took = time.monotonic() - start
            slow += took >= SLOW

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no sync end that begins in the block; be quick behind it."""
        start = time.monotonic()
        self._take(HELD)
        try:
            yield
            took = time.monotonic() - start
            assert took < HELD, f"{took:.0f} s: what was answered may have waited for its sync"
        finally:
            self._take(0.0)
