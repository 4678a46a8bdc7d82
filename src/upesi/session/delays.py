"""Replies that wait (tarpit), and how many at once. Each costs a timer of the loop; past the bound clients are answered at once."""

from __future__ import annotations

__all__ = ["Delays"]


class Delays:
    """One for a worker: a delay is to cost those who are delayed, so it is never worth a resource that others wait for."""

    __slots__ = ("_most", "passed", "waiting")

    def __init__(self, most: int) -> None:
        self._most = most
        self.waiting = 0
        # how many should have waited and did not
        self.passed = 0

    def begin(self) -> bool:
        """Let one more wait; False where too many do."""
        if self.waiting >= self._most:
            self.passed += 1
            return False
        self.waiting += 1
        return True

    def end(self) -> None:
        """It waits no longer."""
        self.waiting -= 1
