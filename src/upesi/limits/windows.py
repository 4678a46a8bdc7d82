"""At most N in any window of time, over counts that are kept in slices: the arithmetic of it.

A window of W seconds is cut into SLICES slices. What counts at a moment is the slice of that moment and the SLICES before it, which
together cover every window of W seconds that ends now: so no window ever holds more than N, and room comes back at most one
slice (W / 12) later than it could. A list of N times would give room to the moment and cost N times the memory.

Pure: whoever keeps the counts passes them in, with the number of the slice that is now.
"""

from __future__ import annotations

__all__ = ["KEPT", "SLICES", "slice_of", "turned"]

SLICES = 12
# the slice that is now, and those before it
KEPT = SLICES + 1


def slice_of(now: float, seconds: float) -> int:
    """Return the number of the slice in which `now` lies, for a window of `seconds`."""
    return int(now * SLICES / seconds)


def turned(counts: tuple[int, ...], newest: int, now: int) -> tuple[int, ...]:
    """Return the KEPT counts as they stand in slice `now`, newest first, where they were written in slice `newest`.

    A `newest` that lies ahead of `now` is taken for `now`: nobody gains by a clock that went back.
    """
    passed = now - newest
    if passed <= 0:
        return counts
    if passed >= KEPT:
        return (0,) * KEPT
    return (0,) * passed + counts[:-passed]
