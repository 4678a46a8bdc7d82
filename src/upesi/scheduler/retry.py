"""When to try again (RFC 5321 section 4.5.4.1). Pure: the clock and chance are given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

__all__ = ["RetrySchedule"]

# A site that cannot be reached is asked sooner than a message that was put off: asking costs one connection, not one per message.
# So the first pause is a tenth of the first wait, and no pause is longer than this.
_PROBE_PART = 0.1
_PROBE_CAP = 900.0
# Seconds by which a try may come before the age that the schedule has for it: clocks and sums of floats are not exact
_SLACK = 1.0


class RetrySchedule:
    """Waits between tries, the last one repeating, each lengthened by up to `jitter` of itself. `random` gives [0, 1)."""

    __slots__ = ("_ages", "_jitter", "_random", "_waits")

    def __init__(self, waits: Sequence[float], jitter: float, random: Callable[[], float]) -> None:
        if not waits:
            raise ValueError("a retry schedule needs at least one wait")
        self._waits = tuple(float(wait) for wait in waits)
        # the ages at which mail that failed every time is tried again, at the earliest
        self._ages = tuple(accumulate(self._waits))
        self._jitter = jitter
        self._random = random

    def due(self, now: float, attempts: int, since: float) -> float:
        """Return when to try again what waits `since` then, after `attempts` (1 or more) tries, the last of them now.

        Waits are never shortened, so more tries than the age has room for were asked for (`upesi queue retry`, ETRN, plugins): those
        use up no step, and the next one is where the schedule has it for that age. Else who asks often would put mail off for hours.
        """
        due = now + self._stretched(self._waits[min(attempts, len(self._waits)) - 1])
        tries, age = self._reached(now - since)
        return min(due, since + age) if attempts > tries else due

    def _reached(self, age: float) -> tuple[int, float]:
        """Return how many tries the schedule has up to `age`, and at which age it has the next one."""
        ages, last = self._ages, self._waits[-1]
        steps = bisect_right(ages, age + _SLACK)
        if steps < len(ages):
            return 1 + steps, ages[steps]
        more = int((age + _SLACK - ages[-1]) // last) + 1
        return steps + more, ages[-1] + more * last

    def pause(self, failures: int) -> float:
        """Return for how many seconds to leave a site alone that could not be reached `failures` (1 or more) times in a row."""
        cap = min(self._waits[-1], _PROBE_CAP)
        # the exponent is bounded: 2.0 ** 1100 overflows
        return self._stretched(min(cap, self._waits[0] * _PROBE_PART * 2.0 ** min(failures - 1, 30)))

    def _stretched(self, wait: float) -> float:
        return wait * (1 + self._jitter * self._random())
