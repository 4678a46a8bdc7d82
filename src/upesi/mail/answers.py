"""What DNS said, as values: "there is none" and "nobody could say" are answers, not exceptions."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Answer", "Confirmed", "MxRecord", "Security", "SrvRecord", "Status", "TlsaRecord"]


class Status(enum.Enum):
    """How a lookup ended. The last two are trouble: asking again later may help."""

    OK = "ok"
    NXDOMAIN = "nxdomain"  # the name does not exist (RFC 2308, RFC 8020)
    NODATA = "nodata"  # the name exists, records of this type do not
    SERVFAIL = "servfail"  # every server refused, failed or talked nonsense
    TIMEOUT = "timeout"

    @property
    def trouble(self) -> bool:
        """Whether this says nothing about the name."""
        return self is Status.SERVFAIL or self is Status.TIMEOUT


class MxRecord(msgspec.Struct, frozen=True, gc=False, order=True):
    """One MX record: `exchange` in lower case without its final dot; empty is the null MX (RFC 7505)."""

    preference: int
    exchange: str


class SrvRecord(msgspec.Struct, frozen=True, gc=False, order=True):
    """One SRV record (RFC 2782): `target` in lower case without its final dot; empty says that there is no such service."""

    priority: int
    weight: int
    port: int
    target: str


class TlsaRecord(msgspec.Struct, frozen=True, gc=False, order=True):
    """One TLSA record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


class Security(enum.Enum):
    """What DNSSEC says of an answer (RFC 4033 section 5), as told by a resolver that the operator trusts to have validated it."""

    SECURE = "secure"
    INSECURE = "insecure"  # the zone is not signed
    BOGUS = "bogus"  # the status is SERVFAIL then: there is an answer, and it must not be believed
    INDETERMINATE = "indeterminate"  # no resolver that is trusted was asked


class Answer(msgspec.Struct, frozen=True):
    """The answer to one question; no records unless `status` is OK.

    MX, SRV and TLSA records have places of their own, everything else is in `texts`: addresses, names, the joined strings of a TXT record
    (octets above 127 as Latin-1), an SOA as in a zone file. `ttl` is in seconds from when the answer came. `name` is where aliases led
    to, empty where the name asked for was none. `stale` says that it outlived its TTL because nobody answers (RFC 8767).
    """

    status: Status
    mx: tuple[MxRecord, ...] = ()
    texts: tuple[str, ...] = ()
    ttl: float = 0.0
    security: Security = Security.INDETERMINATE
    name: str = ""
    srv: tuple[SrvRecord, ...] = ()
    tlsa: tuple[TlsaRecord, ...] = ()
    stale: bool = False

    @property
    def secure(self) -> bool:
        """Whether DNSSEC vouches for this, be it records or their absence."""
        return self.security is Security.SECURE


class Confirmed(msgspec.Struct, frozen=True):
    """The names of an address that lead back to it, in DNS' order; `claims` are all that it claims to have, and prove nothing.

    `status` is OK with at least one name, trouble where DNS did not say enough, NXDOMAIN or NODATA otherwise.
    """

    status: Status
    names: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
