"""How fast the machine itself was meanwhile: a fixed loop, timed before, between and behind the runs of a duel.

On a shared host the same loop takes half as long again, or twice as long, from one minute to the next. Ratios of neighbouring runs bear
that; a promise in microseconds or milliseconds does not, and a reader should see what it was measured on.
"""

from __future__ import annotations

import time

__all__ = ["Pulse"]

_TURNS = 600_000


class Pulse:
    """The times of the loop in seconds, by duel."""

    def __init__(self) -> None:
        self._beats: dict[str, list[float]] = {}
        self._name = ""

    def begin(self, name: str) -> None:
        """Count what follows for the duel `name`."""
        self._name = name
        self._beats[name] = []
        self.beat()

    def beat(self) -> None:
        """Time the loop once: some 40 ms."""
        start = time.perf_counter()
        sum = 0
        for number in range(_TURNS):
            sum += number
        self._beats[self._name].append(time.perf_counter() - start)

    def during(self, name: str) -> str:
        """Say how the duel `name` fared."""
        beats = self._beats[name]
        best = min(min(each) for each in self._beats.values())
        return (
            f"The machine meanwhile: the loop that takes {1000 * best:.0f} ms at its best took "
            f"{1000 * min(beats):.0f} to {1000 * max(beats):.0f} ms."
        )

    def whole(self) -> tuple[str, str]:
        """Return a row for the head of the report."""
        beats = sorted(beat for each in self._beats.values() for beat in each)
        fastest, median, slowest = (1000 * beats[index] for index in (0, len(beats) // 2, -1))
        return "its own speed meanwhile", f"a fixed loop took {median:.0f} ms ({fastest:.0f} - {slowest:.0f})"
