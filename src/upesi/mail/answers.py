"""What DNS said, as values: "there is none" and "nobody could say" are answers, not exceptions."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Answer", "MxRecord", "Status"]


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


class Answer(msgspec.Struct, frozen=True):
    """The answer to one question; no records unless `status` is OK.

    MX records are in `mx`, everything else in `texts`: addresses, names, the joined strings of a TXT record (octets above
    127 as Latin-1). `ttl` is in seconds from when the answer came.
    """

    status: Status
    mx: tuple[MxRecord, ...] = ()
    texts: tuple[str, ...] = ()
    ttl: float = 0.0
