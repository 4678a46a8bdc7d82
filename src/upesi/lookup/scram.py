"""Stored keys for SCRAM (RFC 5802 section 3, RFC 7677): made from a password, written as text, read back.

The text is that of PostgreSQL: `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, the last three in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re

from upesi.sasl.credentials import Ability, Identity, ScramKeys
from upesi.sasl.scram import FICTITIOUS_ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS

__all__ = ["ABILITIES", "derive", "make", "matches", "read", "written"]

# Of new keys: those of users that do not exist, or their number would tell them apart. A client spends this once for each password, 30 ms
# on a computer; whoever stole the file, for every guess. A guess is far cheaper than argon2id's all the same: it needs no memory
_ITERATIONS = FICTITIOUS_ITERATIONS
_SALT_OCTETS = 16

# by the beginning of the text: the ability, and hashlib's name of the hash
_PREFIXES = {
    "SCRAM-SHA-256$": (Ability.SCRAM_SHA_256, "sha256"),
    "SCRAM-SHA-1$": (Ability.SCRAM_SHA_1, "sha1"),
}
_HASHES = dict(_PREFIXES.values())
ABILITIES = tuple(_HASHES)
_TEXT = re.compile(r"(\d{1,7}):([A-Za-z0-9+/=]{1,344})\$([A-Za-z0-9+/=]{28,44}):([A-Za-z0-9+/=]{28,44})")


def make(identity: Identity, password: str, ability: Ability = Ability.SCRAM_SHA_256) -> ScramKeys:
    """Return new keys from a prepared password."""
    salt = os.urandom(_SALT_OCTETS)
    return ScramKeys(identity, salt, _ITERATIONS, *derive(password, salt, _ITERATIONS, ability))


def derive(password: str, salt: bytes, iterations: int, ability: Ability) -> tuple[bytes, bytes]:
    """Return StoredKey and ServerKey of a prepared password (RFC 5802 section 3). Costs about 0.45 ms for 1,000 iterations."""
    name = _HASHES[ability]
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", name)
    return hashlib.new(name, client_key).digest(), hmac.digest(salted, b"Server Key", name)


def matches(keys: ScramKeys, password: str, ability: Ability) -> bool:
    """Whether the keys were made from this password."""
    stored, _ = derive(password, keys.salt, keys.iterations, ability)
    return hmac.compare_digest(stored, keys.stored_key)


def written(keys: ScramKeys, ability: Ability) -> str:
    """Return the keys as text."""
    salt, stored, server = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return f"{ability.value}${keys.iterations}:{salt}${stored}:{server}"


def read(text: str, identity: Identity) -> tuple[Ability, ScramKeys]:
    """Read keys from text; raise ValueError, whose text holds none of them."""
    prefix = next((prefix for prefix in _PREFIXES if text.startswith(prefix)), "")
    match = _TEXT.fullmatch(text, len(prefix)) if prefix else None
    if match is None:
        raise ValueError("is not SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY")
    ability, name = _PREFIXES[prefix]
    try:
        salt, stored, server = (base64.b64decode(part, validate=True) for part in match.groups()[1:])
    except binascii.Error:
        raise ValueError("has SCRAM keys that are not base64") from None
    iterations, size = int(match[1]), hashlib.new(name).digest_size
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        raise ValueError(f"has SCRAM keys with fewer than {MIN_ITERATIONS} or more than {MAX_ITERATIONS} iterations")
    if len(stored) != size or len(server) != size or not salt:
        raise ValueError("has SCRAM keys of the wrong length")
    return ability, ScramKeys(identity, salt, iterations, stored, server)
