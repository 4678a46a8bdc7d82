"""The legal sequence of an SMTP or LMTP session, as data (RFC 5321 section 4.1.4, RFC 3030 section 2, RFC 2033 section 4).

`ACCEPTED` says where a positive reply leads, `REFUSED` where a negative one does (absent: nowhere, the state stays), `CONTINUED` where a
334 does. A pair that `ACCEPTED` does not hold is out of sequence. The tests and the reference page read the same
tables. What does not fit a table: a reply with code 421 leads to CLOSED from everywhere, and so does the end of input.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["ACCEPTED", "COMMAND_STATES", "CONTINUED", "REFUSED", "Kind", "State"]


class State(enum.StrEnum):
    """Where a session stands, between two replies."""

    GREETING = "greeting"  # the client waits for our 220
    UNWELCOME = "unwelcome"  # greeted with 554 or 521: QUIT is all that is left (RFC 5321 section 3.1)
    START = "start"  # greeted, no HELO yet
    READY = "ready"  # no mail transaction
    AUTH = "auth"  # a challenge was sent: the next line answers it, whatever it looks like
    MAIL = "mail"  # MAIL accepted
    ALL_REFUSED = "all refused"  # MAIL accepted, and every RCPT so far refused
    RCPT = "rcpt"  # one recipient or more accepted
    DATA = "data"  # inside message data
    CHUNK = "chunk"  # inside the octets of a BDAT chunk
    BDAT = "bdat"  # between two chunks of a message
    BROKEN = "broken"  # a chunk was refused: the message has a hole, only RSET helps (RFC 3030 section 2)
    CLOSED = "closed"  # nothing more is read


class Kind(enum.StrEnum):
    """What the client did that gets a reply, or (BDAT) begins content."""

    GREETING = "connection"
    HELO = "HELO, EHLO, LHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END = "end of data"
    BDAT = "BDAT"
    CHUNK_END = "end of a chunk"
    LAST_CHUNK_END = "end of the last chunk"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"
    VRFY = "VRFY"
    EXPN = "EXPN"
    HELP = "HELP"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    RESPONSE = "answer to a challenge"
    XCLIENT = "XCLIENT"
    XFORWARD = "XFORWARD"
    ETRN = "ETRN"
    UNKNOWN = "unknown command"
    MALFORMED = "malformed or out of sequence"  # in no row of ACCEPTED: it cannot get a positive reply


# where a command line may come
COMMAND_STATES: Final = (State.START, State.READY, State.MAIL, State.ALL_REFUSED, State.RCPT, State.BDAT, State.BROKEN)
# "The NOOP, HELP, EXPN, VRFY, and RSET commands can be used at any time during a session" (RFC 5321 section 4.1.4)
_WITHOUT_EFFECT: Final = (Kind.NOOP, Kind.HELP, Kind.EXPN, Kind.VRFY, Kind.UNKNOWN)

ACCEPTED: Final[dict[tuple[State, Kind], State]] = {
    **{(state, kind): state for state in COMMAND_STATES for kind in _WITHOUT_EFFECT},
    # EHLO later in the session clears all buffers as RSET does (RFC 5321 section 4.1.4)
    **{(state, Kind.HELO): State.READY for state in COMMAND_STATES},
    **{(state, Kind.RSET): State.READY for state in COMMAND_STATES},
    **{(state, Kind.QUIT): State.CLOSED for state in COMMAND_STATES},
    (State.START, Kind.RSET): State.START,
    (State.UNWELCOME, Kind.QUIT): State.CLOSED,
    (State.GREETING, Kind.GREETING): State.START,
    (State.READY, Kind.MAIL): State.MAIL,
    (State.MAIL, Kind.RCPT): State.RCPT,
    (State.ALL_REFUSED, Kind.RCPT): State.RCPT,
    (State.RCPT, Kind.RCPT): State.RCPT,
    (State.RCPT, Kind.DATA): State.DATA,
    (State.DATA, Kind.END): State.READY,
    # BDAT is not answered: the state moves when its event is taken, and its end is answered
    (State.RCPT, Kind.BDAT): State.CHUNK,
    (State.BDAT, Kind.BDAT): State.CHUNK,
    (State.CHUNK, Kind.CHUNK_END): State.BDAT,
    (State.CHUNK, Kind.LAST_CHUNK_END): State.READY,
    # RFC 3207 section 4.2: all that was said before is forgotten
    (State.START, Kind.STARTTLS): State.START,
    (State.READY, Kind.STARTTLS): State.START,
    # "at any time, except in the middle of a mail delivery transaction"; behind XCLIENT the session is as if it had just been greeted
    (State.START, Kind.XCLIENT): State.START,
    (State.READY, Kind.XCLIENT): State.START,
    (State.START, Kind.XFORWARD): State.START,
    (State.READY, Kind.XFORWARD): State.READY,
    # RFC 1985 section 5: behind EHLO
    (State.READY, Kind.ETRN): State.READY,
    # RFC 4954 section 4: not during a mail transaction
    (State.READY, Kind.AUTH): State.READY,
    (State.AUTH, Kind.RESPONSE): State.READY,
}

# RFC 4954 section 4: a challenge, in a 334
CONTINUED: Final[dict[tuple[State, Kind], State]] = {
    (State.READY, Kind.AUTH): State.AUTH,
    (State.AUTH, Kind.RESPONSE): State.AUTH,
}

REFUSED: Final[dict[tuple[State, Kind], State]] = {
    (State.GREETING, Kind.GREETING): State.UNWELCOME,
    (State.MAIL, Kind.RCPT): State.ALL_REFUSED,
    # the end of the data ends the transaction, whatever the answer (RFC 5321 section 4.1.1.4)
    (State.DATA, Kind.END): State.READY,
    (State.CHUNK, Kind.LAST_CHUNK_END): State.READY,
    # a line that is no answer ends the exchange too, so that the client knows where it stands
    (State.AUTH, Kind.RESPONSE): State.READY,
    (State.AUTH, Kind.MALFORMED): State.READY,
    # a chunk that is missing must not be skipped over: those pipelined behind it are refused too
    (State.CHUNK, Kind.CHUNK_END): State.BROKEN,
    **{(state, Kind.BDAT): State.BROKEN for state in (State.MAIL, State.ALL_REFUSED, State.RCPT, State.BDAT)},
}
