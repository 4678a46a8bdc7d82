"""The Sender Rewriting Scheme: a forwarder's own address that carries the sender's, so that SPF passes and bounces find back.

    SRS0=HHHHHH=TT=example.com=anna@forwarder.example          the first forwarder
    SRS1=HHHHHH=forwarder.example==HHHHHH=TT=example.com=anna@second.example   every one behind it

`H` is a keyed hash of what stands behind it, so that nobody can make us send where he likes; `TT` the day, so that an address that was
seen in a message is of use for some weeks only. Mail systems on the way may change the case of letters: the hash is over small
letters and compared in small letters, and so is the day. The hash is over the kind too: none of one kind is good for the other.
Formerly it was not; what was made so still finds back (SRS0 until it is too old).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from upesi.plugin import Address, AddressError, domain_from

__all__ = ["BadSrs", "Srs", "is_srs"]

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
# days go round: 32 * 32 of them
_CYCLE = 1024
_DAY = 86_400
_SEPARATORS = "=+-"


class BadSrs(ValueError):
    """An address in this form that we did not make, or made too long ago."""


def is_srs(address: Address) -> bool:
    """Whether an address looks like one that a forwarder made."""
    return address.local[:4].lower() in ("srs0", "srs1") and address.local[4:5] in tuple(_SEPARATORS)


class Srs:
    """Rewrites and reads back. The first of `secrets` signs, all of them are believed; `domain` is the forwarder's own."""

    def __init__(self, domain: str, secrets: Sequence[bytes], *, max_age: float, hash_length: int) -> None:
        """`max_age` is in seconds."""
        self.domain = domain
        self._secrets = tuple(secrets)
        self._days = int(max_age // _DAY)
        self._length = hash_length

    def forward(self, sender: Address, now: float) -> Address:
        """Return the address that stands for `sender` from now on; raise AddressError where it would be one that cannot be sent."""
        kind, rest = sender.local[:4].lower(), sender.local[5:]
        if is_srs(sender) and kind == "srs1":
            # SRS1=HHH=first==... of another forwarder: the first stays, we take the place of the second
            _, _, tail = rest.partition("=")
            first, _, inner = tail.partition("=")
            if first and inner[:1] in tuple(_SEPARATORS) and inner[1:]:
                return self._address("SRS1", f"{first}={inner}")
        if is_srs(sender) and kind == "srs0":
            # the first forwarder's address goes along as it is: its hash is his
            return self._address("SRS1", f"{sender.domain}={sender.local[4:]}")
        day = int(now // _DAY) % _CYCLE
        stamp = _BASE32[day >> 5] + _BASE32[day & 31]
        return self._address("SRS0", f"{stamp}={sender.domain}={sender.local}")

    def reverse(self, address: Address, now: float) -> Address:
        """Return whom `address` stands for; raise BadSrs."""
        kind = address.local[:4].lower()
        given, equals, rest = address.local[5:].partition("=")
        if not is_srs(address) or not equals or not self._is_ours(kind, given, rest):
            raise BadSrs("a hash that is not ours")
        local, domain = self._inner_of_second(rest) if kind == "srs1" else self._inner_of_first(rest, now)
        try:
            found = Address(local, domain_from(domain))
        except AddressError as error:
            raise BadSrs(f"an address that cannot be: {error}") from None
        if not found.sendable:
            raise BadSrs("an address that cannot be sent")
        return found

    def _inner_of_first(self, rest: str, now: float) -> tuple[str, str]:
        stamp, _, tail = rest.partition("=")
        domain, _, local = tail.partition("=")
        self._check_day(stamp.lower(), now)
        return local, domain

    def _inner_of_second(self, rest: str) -> tuple[str, str]:
        # back to the first forwarder, who knows the day
        first, _, inner = rest.partition("=")
        return f"SRS0{inner}", first

    def _check_day(self, stamp: str, now: float) -> None:
        if len(stamp) != 2 or any(character not in _BASE32 for character in stamp):
            raise BadSrs("a day that is none")
        day = _BASE32.index(stamp[0]) * 32 + _BASE32.index(stamp[1])
        # a day of tomorrow is that of a colleague whose clock is ahead
        age = (int(now // _DAY) - day + 1) % _CYCLE - 1
        if age > self._days:
            raise BadSrs("too old")

    def _address(self, kind: str, rest: str) -> Address:
        address = Address(f"{kind}={self._hash(self._secrets[0], _bound(kind, rest))}={rest}", self.domain)
        if not address.sendable:
            raise AddressError("the rewritten address cannot be sent")
        return address

    def _is_ours(self, kind: str, given: str, rest: str) -> bool:
        """Compare in constant time, with every secret, and with what was hashed formerly."""
        matches = [
            hmac.compare_digest(given.lower().encode(), self._hash(secret, text).encode())
            for secret in self._secrets
            for text in (_bound(kind, rest), rest)
        ]
        return any(matches)

    def _hash(self, secret: bytes, text: str) -> str:
        digest = hmac.new(secret, text.lower().encode(), hashlib.sha256).digest()
        # base32: letters of one case and digits, so that nothing on the way can change it
        return "".join(_BASE32[octet & 31] for octet in digest[: self._length])


def _bound(kind: str, rest: str) -> str:
    # no address holds a NUL, so no former hash is one of these
    return f"{kind}\0{rest}"
