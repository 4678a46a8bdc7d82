"""What is asked of TLS on the way to one destination: a value that travels with routes (RFC 3207, RFC 8314, RFC 8689)."""

from __future__ import annotations

import enum
import hashlib

import msgspec

__all__ = ["OPPORTUNISTIC", "TlsLevel", "TlsPolicy", "stricter"]


class TlsLevel(enum.StrEnum):
    """How much TLS there must be."""

    NONE = "none"  # never asked for
    MAY = "may"  # where it is offered; plaintext where it is not, or fails (RFC 7435)
    ENCRYPT = "encrypt"  # always, towards whoever answers; never plaintext
    VERIFY = "verify"  # always, and the certificate must be trusted and bear the right name


class TlsPolicy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The TLS policy of one destination.

    `names`, for VERIFY: the certificate must bear one of them. "example.com" is that name, ".example.com" every name below it, "mx" the
    name of the host as DNS gave it. None: the next-hop domain and what is below it, or the host that the route names.
    `authorities`: a PEM file with trusted ones, empty: the system's. `certificate`: a PEM file with the chain and key to show.
    """

    level: TlsLevel = TlsLevel.MAY
    names: tuple[str, ...] = ()
    authorities: str = ""
    certificate: str = ""

    def __post_init__(self) -> None:
        """Raise TypeError for what only looks like a policy: a plugin's "verify" that is no TlsLevel must not pass for less."""
        if (
            type(self.level) is not TlsLevel
            or type(self.names) is not tuple
            or not all(type(n) is str for n in self.names)
        ):
            raise TypeError("a TlsPolicy has a TlsLevel, and a tuple of names")

    @property
    def required(self) -> bool:
        """Whether nothing may go in clear."""
        return self.level in (TlsLevel.ENCRYPT, TlsLevel.VERIFY)

    @property
    def mark(self) -> str:
        """A word that tells policies apart: "verify", "verify/1f0c36b2a9d4"."""
        if not (self.names or self.authorities or self.certificate):
            return self.level.value
        more = msgspec.json.encode((self.names, self.authorities, self.certificate))
        return f"{self.level}/{hashlib.sha256(more).hexdigest()[:12]}"


OPPORTUNISTIC = TlsPolicy()

_STRICTNESS = {level: rank for rank, level in enumerate(TlsLevel)}


def stricter(one: TlsPolicy, other: TlsPolicy) -> TlsPolicy:
    """Return the policy of the higher level, `one` where they are equal."""
    return one if _STRICTNESS[one.level] >= _STRICTNESS[other.level] else other
