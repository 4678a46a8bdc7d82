"""The memory of sites that cannot take commands behind the end of the data (RFC 2920 section 3.1 lets us send them).

Haraka 3.3.4 answers 503 to each of them. Nothing may bounce off that, and the same site should not be asked again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

__all__ = ["LookAheadMemory"]

# Seconds; after an upgrade over there we find out within a day
LIFETIME: Final = 86_400.0

# Sites; beyond them the oldest is forgotten, which costs one refused look-ahead
CAPACITY: Final = 10_000


class LookAheadMemory:
    """Which sites refused look-ahead lately; `now` gives monotonic seconds."""

    __slots__ = ("_now", "_until")

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[str, float] = {}

    def refused(self, site: str) -> None:
        """Remember that `site` refused a look-ahead command."""
        self._until.pop(site, None)
        if len(self._until) >= CAPACITY:
            del self._until[next(iter(self._until))]
        self._until[site] = self._now() + LIFETIME

    def allows(self, site: str) -> bool:
        """Whether look-ahead may be tried at `site`."""
        until = self._until.get(site)
        if until is None:
            return True
        if self._now() < until:
            return False
        del self._until[site]
        return True
