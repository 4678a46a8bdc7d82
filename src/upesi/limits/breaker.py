"""A circuit breaker: what fails again and again is left alone for a while, then tried once, then trusted again.

Who asks is told at once that there is no answer, and the thing that is down is not asked by a thousand at the moment when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BREAK_AFTER", "BREAK_FOR", "Breaker"]

# Failures in a row that open it: more than a hiccup, few enough that a dead scanner costs five deadlines, not a thousand
BREAK_AFTER = 5
# Seconds between two tries of what is open; about the time in which a daemon restarts
BREAK_FOR = 30.0


class Breaker:
    """Closed at first. `row` counts the failures since the last success."""

    __slots__ = ("_now", "_shut_until", "row")

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives seconds that never go back."""
        self._now = now
        self._shut_until = 0.0
        self.row = 0

    @property
    def open(self) -> bool:
        """Whether there were too many failures in a row."""
        return self.row >= BREAK_AFTER

    def shut(self) -> bool:
        """Whether not to try now. Half open: when the pause is over one call is let through, the next after another pause."""
        if self.row < BREAK_AFTER:
            return False
        now = self._now()
        if now < self._shut_until:
            return True
        self._shut_until = now + BREAK_FOR
        return False

    def succeeded(self) -> bool:
        """Note a success, which closes it; say whether it was open."""
        was_open = self.row >= BREAK_AFTER
        self.row = 0
        return was_open

    def failed(self) -> bool:
        """Note a failure; say whether it has opened just now."""
        self.row += 1
        if self.row >= BREAK_AFTER:
            self._shut_until = self._now() + BREAK_FOR
        return self.row == BREAK_AFTER
