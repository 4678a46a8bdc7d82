"""Who was let in lately, so that a program that logs in for every message does not cost the source every time. Off unless configured.

Only a yes is remembered. The key is a keyed hash of user, password and where they came from, under a key that lives in this process only:
what the memory holds compares no faster than a guess at the source. A password that was changed or an account that was closed is let in
until its entry ends, which is why entries live for minutes at most.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

from upesi.dns.cache import TtlCache
from upesi.sasl.credentials import Identity, Origin

__all__ = ["MAX_REMEMBERED_LOGINS", "AcceptedLogins"]

# the longest unused is forgotten; about 300 octets each
MAX_REMEMBERED_LOGINS = 10_000


class AcceptedLogins:
    """Identities by what they logged in with, each for `lifetime` seconds of the monotonic clock `now`; `key` is 32 random octets."""

    __slots__ = ("_entries", "_key", "_lifetime")

    def __init__(self, lifetime: float, now: Callable[[], float], key: bytes) -> None:
        self._lifetime = lifetime
        self._key = key
        self._entries: TtlCache[bytes, Identity] = TtlCache(MAX_REMEMBERED_LOGINS, now)

    def get(self, user: str, password: str, origin: Origin) -> Identity | None:
        """Return who this was when it was right the last time, None where that is too long ago."""
        return self._entries.get(self._name(user, password, origin))

    def put(self, user: str, password: str, origin: Origin, identity: Identity) -> None:
        """Remember that the source said yes."""
        self._entries.put(self._name(user, password, origin), identity, self._lifetime)

    def _name(self, user: str, password: str, origin: Origin) -> bytes:
        # what the source may have judged by as well. None of them holds NUL: `saslprep` refuses control characters
        asked = "\0".join((user, password, origin.service, origin.remote, "tls" if origin.secured else ""))
        return blake2b(asked.encode(), key=self._key, digest_size=32).digest()
