"""Random octets from the kernel, fetched a page at a time: a system call for each id was 5 % of the time of an accepted message."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["Entropy"]

_PAGE: Final = 4096


class Entropy:
    """`entropy(n)` returns n octets that were given to nobody else."""

    __slots__ = ("_at", "_page")

    def __init__(self) -> None:
        self._page = b""
        self._at = 0

    def __call__(self, n: int) -> bytes:
        """Return `n` random octets, at most a page."""
        at = self._at
        if at + n > len(self._page):
            self._page = os.urandom(_PAGE)
            at = 0
        self._at = at + n
        return self._page[at : at + n]
