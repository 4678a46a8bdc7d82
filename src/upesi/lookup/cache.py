"""Who was let in lately, so that a program that logs in for every message does not cost the source every time. Off unless configured.

Only a yes is remembered. The key is a keyed hash of user and password, under a key that lives in this process only: what the memory
holds compares no faster than a guess at the source. A password that was changed or an account that was closed is let in until its entry
ends, which is why entries live for minutes at most.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

from upesi.sasl.credentials import Identity

__all__ = ["MAX_REMEMBERED_LOGINS", "AcceptedLogins"]

# the oldest is forgotten; about 300 octets each
MAX_REMEMBERED_LOGINS = 10_000


class AcceptedLogins:
    """Identities by what they logged in with, each for `lifetime` seconds of the monotonic clock `now`; `key` is 32 random octets."""

    __slots__ = ("_entries", "_key", "_lifetime", "_now")

    def __init__(self, lifetime: float, now: Callable[[], float], key: bytes) -> None:
        self._lifetime = lifetime
        self._now = now
        self._key = key
        self._entries: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    def get(self, user: str, password: str) -> Identity | None:
        """Return who this was when it was right the last time, None where that is too long ago."""
        name = self._name(user, password)
        entry = self._entries.get(name)
        if entry is None:
            return None
        if self._now() >= entry[0]:
            del self._entries[name]
            return None
        return entry[1]

    def put(self, user: str, password: str, identity: Identity) -> None:
        """Remember that the source said yes."""
        name = self._name(user, password)
        self._entries.pop(name, None)
        self._entries[name] = (self._now() + self._lifetime, identity)
        if len(self._entries) > MAX_REMEMBERED_LOGINS:
            self._entries.popitem(last=False)

    def _name(self, user: str, password: str) -> bytes:
        # neither holds NUL: `saslprep` refuses control characters
        return blake2b(f"{user}\0{password}".encode(), key=self._key, digest_size=32).digest()
