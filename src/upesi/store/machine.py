"""The counters of `counters.Counters` in shared memory: two tables of fixed size, found by a keyed digest.

*Holdings* say how many of a key each member holds, so that what a killed worker held can be forgotten by its column. *Windows* hold the
slices of `limits.windows`. Both are tables of sets: a key lies in one of the few places of its set, so looking it up costs the same
however many there are, and ten million addresses (FLD-11) cost no more memory than none. Where a set is full, the window that ends
first gives way; a holding never does, and what finds no place is not counted: a limit that is not kept for one address among
millions, rather than a client refused for what others do.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from upesi.config.units import Rate
from upesi.limits.windows import KEPT, slice_of, turned
from upesi.store.region import HEADER, Region

__all__ = ["MachineCounters"]

# 32,768 keys held at once: three times the sessions of a listener. A set of 16 overflows with a chance of 1 in 10^5 at 10,000 keys
_HELD_SETS = 2048
_HELD_WAYS = 16
# 32,768 windows: some rates for each of several thousand clients at a time
_WINDOW_SETS = 4096
_WINDOW_WAYS = 8

_DIGEST = 16
_HELD = _HELD_SETS * _HELD_WAYS
_WINDOWS = _WINDOW_SETS * _WINDOW_WAYS
_COUNT = struct.Struct("=H")
_MOST = 0xFFFF
# when it holds nothing any more (seconds of the monotonic clock), its newest slice, its counts
_WINDOW = struct.Struct(f"=II{KEPT}I")
_FULL = 0xFFFFFFFF

_HELD_KEYS = HEADER
_WINDOW_KEYS = _HELD_KEYS + _HELD * _DIGEST
_WINDOW_COUNTS = _WINDOW_KEYS + _WINDOWS * _DIGEST
# behind what is common, on a border of pages: what each member holds
_HELD_COUNTS = -(-(_WINDOW_COUNTS + _WINDOWS * _WINDOW.size) // HEADER) * HEADER
_COLUMN = _HELD * _COUNT.size

# how often a member that is at a limit looks whether others have ended
_LOOK = 1.0


class MachineCounters:
    """Implements `counters.Counters`."""

    __slots__ = ("_looked", "_memory", "_monotonic", "_region", "_secret")

    def __init__(self, path: Path | None, *, boot: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Join the workers that count in the file at `path`, or count alone without one; raise RegionError.

        `monotonic` must be one clock for all of them, as the machine's is.
        """
        self._region = Region(path, _HELD_COUNTS, _COLUMN, boot=boot)
        self._memory = self._region.memory
        self._secret = self._region.secret
        self._monotonic = monotonic
        self._looked = -_LOOK
        # whoever had this column before us may have been killed
        self._wipe(self._region.column)

    def close(self) -> None:
        """Leave; what we hold is given back."""
        self._wipe(self._region.column)
        self._region.close()

    # -- what is held at once

    def hold(self, key: bytes, limit: int) -> bool:
        """Hold one more of `key`, if that is within `limit`."""
        digest = self._digest(key)
        self._region.lock()
        try:
            place = self._held_place(digest)
            if place is None:
                return True
            if limit and self._sum(place) >= limit and not (self._bury() and self._sum(place) < limit):
                return False
            self._memory[_HELD_KEYS + place * _DIGEST : _HELD_KEYS + (place + 1) * _DIGEST] = digest
            self._change(place, 1)
            return True
        finally:
            self._region.unlock()

    def release(self, key: bytes) -> None:
        """Give one back."""
        digest = self._digest(key)
        self._region.lock()
        try:
            place = self._find(digest, _HELD_KEYS, _HELD_SETS, _HELD_WAYS)
            if place is not None:
                self._change(place, -1)
        finally:
            self._region.unlock()

    def held(self, key: bytes) -> int:
        """Return how many all workers hold."""
        digest = self._digest(key)
        self._region.lock()
        try:
            place = self._find(digest, _HELD_KEYS, _HELD_SETS, _HELD_WAYS)
            return 0 if place is None else self._sum(place)
        finally:
            self._region.unlock()

    def _held_place(self, digest: bytes) -> int | None:
        """Return the place of a key, or a free one of its set; None where all are taken."""
        place = self._find(digest, _HELD_KEYS, _HELD_SETS, _HELD_WAYS)
        if place is not None:
            return place
        first = _set_of(digest, _HELD_SETS) * _HELD_WAYS
        return next((place for place in range(first, first + _HELD_WAYS) if not self._sum(place)), None)

    def _sum(self, place: int) -> int:
        memory, offset = self._memory, _HELD_COUNTS + place * _COUNT.size
        return sum(_COUNT.unpack_from(memory, offset + column * _COLUMN)[0] for column in self._region.columns)

    def _change(self, place: int, by: int) -> None:
        offset = _HELD_COUNTS + self._region.column * _COLUMN + place * _COUNT.size
        count = _COUNT.unpack_from(self._memory, offset)[0] + by
        _COUNT.pack_into(self._memory, offset, min(max(count, 0), _MOST))

    def _bury(self) -> bool:
        """Forget what members held that have ended; looked for when it matters, at a limit, and not more than once a second."""
        now = self._monotonic()
        if now - self._looked < _LOOK:
            return False
        self._looked = now
        return self._region.bury(self._wipe)

    def _wipe(self, column: int) -> None:
        start = _HELD_COUNTS + column * _COLUMN
        self._memory[start : start + _COLUMN] = bytes(_COLUMN)

    # -- events in a window

    def take(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        """Count `n` events, if that is within `rate`."""
        return not rate.count or self._count(key, rate, n, always=False)

    def add(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        """Count `n` events, and say whether that is within `rate`."""
        return not rate.count or self._count(key, rate, n, always=True)

    def _count(self, key: bytes, rate: Rate, n: int, *, always: bool) -> bool:
        digest = self._digest(key, rate)
        self._region.lock()
        try:
            now = self._monotonic()
            place, counts = self._window(digest, rate, now)
            fits = sum(counts) + n <= rate.count
            if fits or always:
                self._write(place, digest, rate, now, (min(counts[0] + n, _FULL), *counts[1:]))
            return fits
        finally:
            self._region.unlock()

    def give_back(self, key: bytes, rate: Rate) -> None:
        """Take one event back, from the newest slice that has any."""
        if not rate.count:
            return
        digest = self._digest(key, rate)
        self._region.lock()
        try:
            now = self._monotonic()
            place, counts = self._window(digest, rate, now)
            newest = next((slice for slice, count in enumerate(counts) if count), None)
            if newest is not None:
                self._write(place, digest, rate, now, (*counts[:newest], counts[newest] - 1, *counts[newest + 1 :]))
        finally:
            self._region.unlock()

    def spent(self, key: bytes, rate: Rate) -> int:
        """Return how many events the window holds."""
        if not rate.count:
            return 0
        digest = self._digest(key, rate)
        self._region.lock()
        try:
            return sum(self._window(digest, rate, self._monotonic())[1])
        finally:
            self._region.unlock()

    def forget(self, key: bytes, rate: Rate) -> None:
        """Begin again from nothing."""
        digest = self._digest(key, rate)
        self._region.lock()
        try:
            place = self._find(digest, _WINDOW_KEYS, _WINDOW_SETS, _WINDOW_WAYS)
            if place is not None:
                _WINDOW.pack_into(self._memory, _WINDOW_COUNTS + place * _WINDOW.size, 0, 0, *(0,) * KEPT)
        finally:
            self._region.unlock()

    def _window(self, digest: bytes, rate: Rate, now: float) -> tuple[int, tuple[int, ...]]:
        """Return the place of a window and its counts; for a new one the place that matters least, and zeros."""
        place = self._find(digest, _WINDOW_KEYS, _WINDOW_SETS, _WINDOW_WAYS)
        if place is not None:
            _, newest, *counts = _WINDOW.unpack_from(self._memory, _WINDOW_COUNTS + place * _WINDOW.size)
            return place, turned(tuple(counts), newest, slice_of(now, rate.seconds))
        first = _set_of(digest, _WINDOW_SETS) * _WINDOW_WAYS
        return min(range(first, first + _WINDOW_WAYS), key=self._end), (0,) * KEPT

    def _end(self, place: int) -> int:
        return _COUNT_END.unpack_from(self._memory, _WINDOW_COUNTS + place * _WINDOW.size)[0]  # type: ignore[no-any-return]

    def _write(self, place: int, digest: bytes, rate: Rate, now: float, counts: tuple[int, ...]) -> None:
        memory = self._memory
        memory[_WINDOW_KEYS + place * _DIGEST : _WINDOW_KEYS + (place + 1) * _DIGEST] = digest
        end = int(now + rate.seconds) + 1
        _WINDOW.pack_into(memory, _WINDOW_COUNTS + place * _WINDOW.size, end, slice_of(now, rate.seconds), *counts)

    # -- both

    def _digest(self, key: bytes, rate: Rate | None = None) -> bytes:
        if rate is not None:
            # windows of another length, after a reload, are other windows
            key = b"%s %d" % (key, rate.seconds * 1000)
        return blake2b(key, digest_size=_DIGEST, key=self._secret).digest()

    def _find(self, digest: bytes, keys: int, sets: int, ways: int) -> int | None:
        first = _set_of(digest, sets) * ways
        start = keys + first * _DIGEST
        found = self._memory.find(digest, start, start + ways * _DIGEST)
        # between two keys a digest could be found by chance only, 1 in 2^128
        return None if found < 0 else first + (found - start) // _DIGEST


_COUNT_END = struct.Struct("=I")


def _set_of(digest: bytes, sets: int) -> int:
    return int.from_bytes(digest[:4], "little") % sets
