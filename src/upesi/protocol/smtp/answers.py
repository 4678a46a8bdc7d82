"""What a client hears: replies, and which of its requests each one answers (RFC 5321 section 4.2, RFC 2033 section 4.2)."""

from __future__ import annotations

import enum

from upesi.mail.reply import Said

__all__ = ["ReceivedReply", "Request"]


class Request(enum.StrEnum):
    """What a reply answers."""

    GREETING = "connection"
    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "end of data"
    BDAT = "BDAT"
    BDAT_LAST = "BDAT LAST"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"


class ReceivedReply(Said, frozen=True, gc=False):
    """A reply and the `request` that it answers.

    `recipient` counts the RCPTs of the transaction from 0: set for the answer to a RCPT, and for each answer at an LMTP end of data.
    """

    request: Request
    recipient: int | None = None
