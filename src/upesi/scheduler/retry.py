"""When to try again (RFC 5321 section 4.5.4.1). Pure: the clock and chance are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["RetrySchedule"]

# A site that cannot be reached is asked sooner than a message that was put off: asking costs one connection, not one per message.
# So the first pause is a tenth of the first wait, and no pause is longer than this.
_PROBE_PART = 0.1
_PROBE_CAP = 900.0


class RetrySchedule:
    """Waits between tries, the last one repeating, each lengthened by up to `jitter` of itself. `random` gives [0, 1)."""

    __slots__ = ("_jitter", "_random", "_waits")

    def __init__(self, waits: Sequence[float], jitter: float, random: Callable[[], float]) -> None:
        if not waits:
            raise ValueError("a retry schedule needs at least one wait")
        self._waits = tuple(float(wait) for wait in waits)
        self._jitter = jitter
        self._random = random

    def due(self, now: float, attempts: int) -> float:
        """Return when to try again after `attempts` (1 or more) tries, the last of them now."""
        wait = self._waits[min(attempts, len(self._waits)) - 1]
        return now + self._stretched(wait)

    def pause(self, failures: int) -> float:
        """Return for how many seconds to leave a site alone that could not be reached `failures` (1 or more) times in a row."""
        cap = min(self._waits[-1], _PROBE_CAP)
        # the exponent is bounded: 2.0 ** 1100 overflows
        return self._stretched(min(cap, self._waits[0] * _PROBE_PART * 2.0 ** min(failures - 1, 30)))

    def _stretched(self, wait: float) -> float:
        return wait * (1 + self._jitter * self._random())
