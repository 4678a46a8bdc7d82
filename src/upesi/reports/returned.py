"""The last part of a notice: what is given back of the message (RFC 3461 section 6.2, RFC 6522 section 3, RFC 6533 section 5).

All of it only where delivery failed, RET=FULL asked for it, it is small, and it may travel as it stands; else its header, cut where it
has no end (DSN-03).
"""

from __future__ import annotations

from upesi.mail.envelope import BodyType, ReturnContent
from upesi.reports.case import Case, Kind
from upesi.reports.lines import LONGEST
from upesi.spool.records import StoredMessage

__all__ = ["MAX_HEADER", "MAX_RETURNED", "returned_part"]

# RET=FULL gives back a message up to this size, else its header: a notice is no way to send 25 MB twice
MAX_RETURNED = 50_000
# A header longer than this is cut at a line's end
MAX_HEADER = 32_768


def returned_part(case: Case) -> tuple[str, bytes]:
    """Return the media type and octets of the third part."""
    message = case.message
    if _whole(case):
        octets = message.prefix + message.body.read(0, message.body.size)
        if _sendable(octets):
            return ("message/global" if message.transmission.smtputf8 else "message/rfc822"), octets
    octets = _header_of(message)
    beyond = message.transmission.smtputf8 and not octets.isascii()
    return ("message/global-headers" if beyond else "text/rfc822-headers"), octets


def _whole(case: Case) -> bool:
    """Whether the message itself is wanted and allowed.

    Without RET a notice returns what its writer likes (RFC 3461 section 4.3): the header. A BINARYMIME message is never returned
    whole: its octets fit no line (RFC 3030 section 3). Nor is one that requires TLS (RFC 8689 section 5).
    """
    transmission = case.message.transmission
    return (
        case.kind is Kind.FAILURE
        and transmission.ret is ReturnContent.FULL
        and transmission.body is not BodyType.BINARY
        and not transmission.requiretls
        and len(case.message.prefix) + case.message.body.size <= MAX_RETURNED
    )


def _header_of(message: StoredMessage) -> bytes:
    """Return the header with its last CRLF, cut at a line's end where it is too long; lines that no line may be are left out."""
    octets = message.prefix + message.body.read(0, MAX_HEADER)
    end = 0 if octets.startswith(b"\r\n") else octets.find(b"\r\n\r\n") + 2
    if end == 1:
        # no empty line in what was read: a message of header only, or a header without end
        end = octets.rfind(b"\r\n") + 2 if b"\r\n" in octets else 0
    header = octets[:end][:MAX_HEADER]
    header = header[: header.rfind(b"\r\n") + 2] if b"\r\n" in header else b""
    return b"".join(line + b"\r\n" for line in header.split(b"\r\n")[:-1] if _sendable(line))


def _sendable(octets: bytes) -> bool:
    """Whether octets may stand in mail as they are: no NUL, no bare CR or LF, no line beyond 998 octets (RFC 5322 section 2.3)."""
    lines = octets.split(b"\r\n")
    return not any(len(line) > LONGEST or b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
