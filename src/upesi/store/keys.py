"""Keys with a lifetime: small values that all workers of the machine see, and that survive a restart (greylisting, locks of accounts).

The seam that plugins and AUTH see; `lifetimes.SqliteKeys` implements it. Lifetimes are on the wall clock, since they outlive the
machine's uptime: after a step of the clock a key may end early or late by as much, so nothing that must not be lost belongs here.
"""

from __future__ import annotations

from typing import Protocol

from upesi.mail.errors import ServiceFailed

__all__ = ["Keys", "KeysUnavailable"]


class KeysUnavailable(ServiceFailed):
    """The keys cannot be had now (disk full, I/O error, too many requests under way): the caller decides without them."""


class Keys(Protocol):
    """Each method raises KeysUnavailable. `lifetime` is in seconds; a key that has outlived it is not there."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`, None where there is none."""
        ...

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        """Set `key`, whatever it was."""
        ...

    async def add(self, key: str, value: bytes, lifetime: float) -> bool:
        """Set `key` unless it is there; say whether it was set. Of two workers at the same moment one is told True."""
        ...

    async def remove(self, key: str) -> None:
        """Forget `key`."""
        ...
