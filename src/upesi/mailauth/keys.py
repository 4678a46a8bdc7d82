"""Public keys in DNS (RFC 6376 section 3.6.1, RFC 8301, RFC 8463), and the cryptography behind them.

What a key is good for is decided here; whether it may speak for a signature is the verifier's business. Parsing a key costs more than
using it, so what a record says is kept, in a bounded `KeyCache` that its owner makes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from upesi.mailauth.tags import TagError, base64_value, parse_tags, words

__all__ = ["MAX_KEYS", "MAX_RSA_BITS", "MIN_RSA_BITS", "KeyCache", "KeyRecord", "PublicKey"]

# RFC 8301 section 3.2: below, a signature is none; verifiers must know up to 4096. One of 16,384 bits would take 1 ms each time
MIN_RSA_BITS = 1024
MAX_RSA_BITS = 4096
# keys have 3, 17 or 65537 there; an exponent as long as the modulus makes checking as slow as signing
_MAX_EXPONENT = 2**32
# some 3 kB each: the signers of nearly all the mail that a worker sees in an hour
MAX_KEYS = 2000

_PADDING = padding.PKCS1v15()
_SHA256 = Prehashed(hashes.SHA256())
_ED25519_OCTETS = 32


class PublicKey(Protocol):
    """A key that checks a signature of a SHA-256 digest. `kind` is "rsa" or "ed25519", `bits` its strength in the usual count."""

    @property
    def kind(self) -> str:
        """The value of k=."""
        ...

    @property
    def bits(self) -> int:
        """Bits of the modulus; 256 for Ed25519."""
        ...

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        """Whether `signature` was made of `digest` by the owner of this key."""
        ...


class _RsaKey:
    __slots__ = ("_key", "bits")

    kind = "rsa"

    def __init__(self, key: RSAPublicKey) -> None:
        self._key = key
        self.bits = key.key_size

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        try:
            self._key.verify(signature, digest, _PADDING, _SHA256)
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


class _Ed25519Key:
    __slots__ = ("_key",)

    kind = "ed25519"
    bits = 256

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key

    def verifies(self, signature: bytes, digest: bytes) -> bool:
        # RFC 8463 section 3: PureEdDSA over the SHA-256 digest
        try:
            self._key.verify(signature, digest)
        except (InvalidSignature, ValueError):
            return False
        return True


class KeyRecord(msgspec.Struct, frozen=True):
    """What one key record says.

    `fault` is empty where the key can be used; else it says why not, and `key` is None. `policy` marks a fault that is a matter of
    strength: the record is right, the key is not good enough.
    """

    key: PublicKey | None = None
    fault: str = ""
    policy: bool = False
    testing: bool = False  # t=y
    strict: bool = False  # t=s: i= must be at the very domain of d=

    @classmethod
    def parse(cls, text: str) -> KeyRecord:
        """Read a TXT record; never raise."""
        try:
            return _record(text)
        except TagError as error:
            return cls(fault=f"key record: {error}")


def _record(text: str) -> KeyRecord:
    tags = parse_tags(text)
    # RFC 6376 section 3.6.1: v= is "DKIM1" and the first, if it is there at all
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        return KeyRecord(fault="key record is of another version")
    material = tags.get("p")
    if material is None:
        return KeyRecord(fault="key record has no key")
    flags = words(tags.get("t", ""))
    testing, strict = "y" in flags, "s" in flags
    if not material:
        return KeyRecord(fault="key was revoked", testing=testing)
    if "h" in tags and "sha256" not in words(tags["h"]):
        return KeyRecord(fault="key is not for sha256", testing=testing)
    services = words(tags.get("s", "*"))
    if "*" not in services and "email" not in services:
        return KeyRecord(fault="key is not for mail", testing=testing)
    # RFC 6376 section 3.6.1: n= are notes; g= of RFC 4871 and all other tags are ignored
    kind = tags.get("k", "rsa").lower()
    if kind == "ed25519":
        return _with_ed25519(base64_value(material), testing, strict)
    if kind == "rsa":
        return _with_rsa(base64_value(material), testing, strict)
    return KeyRecord(fault="key is of an unknown type", testing=testing)


def _with_ed25519(raw: bytes, testing: bool, strict: bool) -> KeyRecord:
    if len(raw) != _ED25519_OCTETS:
        return KeyRecord(fault="key is malformed", testing=testing)
    return KeyRecord(_Ed25519Key(Ed25519PublicKey.from_public_bytes(raw)), testing=testing, strict=strict)


def _with_rsa(der: bytes, testing: bool, strict: bool) -> KeyRecord:
    # A SubjectPublicKeyInfo, as everybody publishes it, or the bare RSAPublicKey that RFC 6376 names: OpenSSL reads both
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        return KeyRecord(fault="key is malformed", testing=testing)
    if not isinstance(key, RSAPublicKey):
        return KeyRecord(fault="key is malformed", testing=testing)
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return KeyRecord(fault=f"key has {key.key_size} bits", policy=True, testing=testing)
    if not _sound(key.public_numbers()):
        return KeyRecord(fault="key has an exponent that is not sound", policy=True, testing=testing)
    return KeyRecord(_RsaKey(key), testing=testing, strict=strict)


def _sound(numbers: RSAPublicNumbers) -> bool:
    return 3 <= numbers.e <= _MAX_EXPONENT and numbers.e % 2 == 1


class KeyCache:
    """The records that were read last, by their text: DNS says when a record ends, and its text says all of it."""

    __slots__ = ("_limit", "_records")

    def __init__(self, limit: int = MAX_KEYS) -> None:
        """Beyond `limit` records, the one that was used the longest time ago goes."""
        self._limit = limit
        self._records: OrderedDict[str, KeyRecord] = OrderedDict()

    def record(self, text: str) -> KeyRecord:
        """Return what the TXT record `text` says."""
        record = self._records.get(text)
        if record is None:
            record = self._records[text] = KeyRecord.parse(text)
            if len(self._records) > self._limit:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(text)
        return record
