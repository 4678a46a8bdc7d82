"""The Received field that goes on top of every message (RFC 5321 section 4.4, RFC 3848, RFC 6531 section 4.3).

    Time-stamp-line = "Received:" FWS Stamp <CRLF>
    Stamp           = From-domain By-domain Opt-info [CFWS] ";" FWS date-time
    Extended-Domain = Domain / ( Domain FWS "(" TCP-info ")" ) / ( address-literal FWS "(" TCP-info ")" )

Return-Path is not ours to add: it belongs to final delivery.
"""

from __future__ import annotations

import re
import time
from typing import Final

from upesi.hooks.session import Session, Transaction
from upesi.mail.security import TlsInfo

__all__ = ["Dates", "hidden_origin", "origin_clause", "received", "with_keyword"]

# what a checked HELO name is made of; anything else that a lenient parser lets through becomes "?" (CMD-15)
_NOT_A_NAME: Final = re.compile(r"[^A-Za-z0-9.:_\-\[\]]")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Dates:
    """RFC 5322 dates in UTC. The last one is kept: thousands of messages a second share it (2 us each otherwise)."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, now: float) -> str:
        """Return `now`, in wall-clock seconds, as "Sun, 22 Nov 2026 10:16:17 +0000"."""
        second = int(now)
        if second != self._second:
            at = time.gmtime(second)
            self._text = (
                f"{_DAYS[at.tm_wday]}, {at.tm_mday:02d} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04d} "
                f"{at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d} +0000"
            )
            self._second = second
        return self._text


def with_keyword(session: Session, *, smtputf8: bool = False) -> str:
    """Return the protocol of the `with` clause: "ESMTPSA", "LMTP", "UTF8SMTPS", ... (RFC 3848, RFC 6531 section 4.3)."""
    base = session.protocol
    if smtputf8:
        base = "UTF8LMTP" if base == "LMTP" else "UTF8SMTP"
    # plain SMTP has neither extension, so it has no such suffixes
    if base == "SMTP":
        return base
    return f"{base}{'S' if session.tls else ''}{'A' if session.identity else ''}"


def _protection(tls: TlsInfo) -> str:
    """Return the comment that says how the message was protected on its way here, and from whom it came for certain."""
    if tls.peer is None:
        return f" ({tls})"
    return f" ({tls})\r\n\t(verified client certificate: {tls.peer.name})"


def origin_clause(session: Session, hostname: str) -> str:
    """Return the first two lines of the field up to "with": the same for all messages of a session."""
    address = session.client.address
    # a client on a Unix socket has no address
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]" if address else "local"
    name = _NOT_A_NAME.sub("?", session.helo) or literal
    return f"Received: from {name} ({literal})\r\n\tby {hostname} with "


def hidden_origin(hostname: str) -> str:
    """Return the same without the client: where a user lives is nobody's business, and the clause is a SHOULD (RFC 5321 section 4.4)."""
    return f"Received: by {hostname}\r\n\twith "


def received(origin: str, tx: Transaction, id: str, date: str) -> bytes:
    """Return the whole field with its CRLF.

    `for` names the recipient only where there is one: with more it would show the blind copies (RFC 5321 section 7.2).
    """
    keyword = with_keyword(tx.session, smtputf8=tx.transmission.smtputf8)
    if tx.session.tls is not None:
        keyword += _protection(tx.session.tls)
    # RFC 6710 section 4: a clause of its own, behind all others (RFC 5321 section 4.4: Additional-Registered-Clauses)
    priority = f" priority {tx.transmission.priority}" if tx.transmission.priority else ""
    if len(tx.recipients) == 1:
        return f"{origin}{keyword} id {id}\r\n\tfor <{tx.recipients[0].address}>{priority}; {date}\r\n".encode()
    return f"{origin}{keyword} id {id}{priority};\r\n\t{date}\r\n".encode()
