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
    """The answer to one question. `records` is empty unless `status` is OK.

    Its items are `MxRecord` for MX and text for the rest: addresses, names, or the joined strings of a TXT record.
    `ttl` is in seconds from when it was received.
    """

    status: Status
    mx: tuple[MxRecord, ...] = ()
    texts: tuple[str, ...] = ()
    ttl: float = 0.0
