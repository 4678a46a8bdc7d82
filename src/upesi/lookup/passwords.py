"""Hashes of passwords: argon2id (RFC 9106), made and compared. The only module that knows argon2-cffi.

Comparing takes tens of milliseconds of a processor and holds the memory that the hash asks for: never on the event loop (`pool`).
"""

from __future__ import annotations

import os
import re

from argon2.exceptions import Argon2Error, VerifyMismatchError
from argon2.low_level import Type, hash_secret, verify_secret

__all__ = [
    "MAX_HASH_LANES",
    "MAX_HASH_MEMORY",
    "MAX_HASH_PASSES",
    "check_hash",
    "cost_of",
    "hash_matches",
    "hash_password",
    "spend",
]

# What new hashes cost: 19 MiB, two passes, one lane: the least that OWASP's cheat sheet takes for argon2id. Measured 36 ms on one core of
# 2026; RFC 9106's second choice (64 MiB, three passes, four lanes) takes 175 ms. A mail client logs in for every connection, and every
# login, right or wrong, costs us the same: five times the price would be a fifth of the logins that a flood leaves to honest users.
_MEMORY_KIB = 19_456
_PASSES = 2
_LANES = 1
_SALT_OCTETS = 16
_HASH_OCTETS = 32

# A hash tells what it costs to compare: one from a table that others may write must not take the machine. 256 MiB is four times RFC 9106's
MAX_HASH_MEMORY = 262_144
MAX_HASH_PASSES = 16
MAX_HASH_LANES = 16

_FORM = re.compile(
    r"\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})"
)


def hash_password(password: str) -> str:
    """Return a new hash of a prepared password."""
    return _hashed(password.encode(), _MEMORY_KIB, _PASSES, _LANES)


def check_hash(text: str) -> None:
    """Raise ValueError, without the hash in its text, unless `text` is an argon2id hash that may be compared here."""
    cost_of(text)


def cost_of(text: str) -> tuple[int, int, int]:
    """Return memory (KiB), passes and lanes of a hash; raise ValueError as `check_hash`."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("has a hash that is not argon2id ($argon2id$v=19$m=...,t=...,p=...$SALT$HASH)")
    memory, passes, lanes = int(match[1]), int(match[2]), int(match[3])
    if memory > MAX_HASH_MEMORY or passes > MAX_HASH_PASSES or lanes > MAX_HASH_LANES:
        raise ValueError("has a hash that costs more than 256 MiB, 16 passes or 16 lanes to compare")
    return memory, passes, lanes


def hash_matches(text: str, password: str) -> bool:
    """Whether `text` was made from this password; raise ValueError where it is no hash."""
    check_hash(text)
    try:
        return verify_secret(text.encode(), password.encode(), Type.ID)
    except VerifyMismatchError:
        return False
    except Argon2Error:
        raise ValueError("has a hash that argon2 cannot read") from None


def spend(cost: tuple[int, int, int] | None, password: str) -> None:
    """Do the work of comparing a hash of this cost (None: that of a new one), for a user who is not there (AUT-04)."""
    _hashed(password.encode(), *(cost or (_MEMORY_KIB, _PASSES, _LANES)))


def _hashed(password: bytes, memory: int, passes: int, lanes: int) -> str:
    salt = os.urandom(_SALT_OCTETS)
    return hash_secret(password, salt, passes, memory, lanes, _HASH_OCTETS, Type.ID).decode()
