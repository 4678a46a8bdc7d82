"""Networks from which an account was used: what others fail there, from elsewhere, must not keep its owner out (AUT-04).

Kept for a month in `Keys` that all workers share, under digests: neither names nor addresses stand in that file. It is written when an
account is first used from a network and then once a day at most, so a busy submission server writes little; and read only
while somebody guesses at the account.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol

from upesi.mail.errors import UpesiError

__all__ = ["MAX_RECENT", "Acquaintances", "Keys"]

_MONTH = 30 * 86_400.0
_DAY = 86_400.0
# written lately by this worker, so that they need not be written again: about 1 MB
MAX_RECENT = 10_000
_DIGEST = 16


class Keys(Protocol):
    """As much of `upesi.store.keys.Keys` as is needed here."""

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`; raise UpesiError."""
        ...

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        """Set `key`; raise UpesiError."""
        ...


class Acquaintances:
    """Accounts and the networks that they were used from. `monotonic` in seconds."""

    __slots__ = ("_keys", "_monotonic", "_recent")

    def __init__(self, keys: Keys, monotonic: Callable[[], float]) -> None:
        self._keys = keys
        self._monotonic = monotonic
        # key: when it was written; those that were not used for longest come first
        self._recent: dict[str, float] = {}

    async def knows(self, name: bytes, network: bytes) -> bool:
        """Whether the account was used from there in the last month. Without an answer it was not: a guesser is kept out."""
        try:
            return await self._keys.get(_key(name, network)) is not None
        except UpesiError:
            return False

    def remember(self, name: bytes, network: bytes) -> Awaitable[None] | None:
        """Return what must be awaited, by somebody, to remember; None where that was done lately."""
        key, now = _key(name, network), self._monotonic()
        written = self._recent.pop(key, None)
        if written is not None and now - written < _DAY:
            self._recent[key] = written
            return None
        if len(self._recent) >= MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        self._recent[key] = now
        return self._put(key)

    async def _put(self, key: str) -> None:
        try:
            await self._keys.put(key, b"", _MONTH)
        except UpesiError:
            # not known: at worst the owner waits while somebody guesses. It is tried again at the next login
            self._recent.pop(key, None)


def _key(name: bytes, network: bytes) -> str:
    return "auth/used/" + hashlib.blake2b(name + b"\0" + network, digest_size=_DIGEST).hexdigest()
