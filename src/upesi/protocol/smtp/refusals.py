"""The replies that the server machine itself decides on, encoded once (RFC 5321 section 4.2, RFC 3463, RFC 5248).

Code 421 means: send it, then close.
"""

from __future__ import annotations

from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.states import Kind, State

__all__ = [
    "AUTH_LINE_TOO_LONG",
    "BAD_BASE64",
    "BAD_CHUNK_SIZE",
    "BAD_PARAMETER",
    "BARE_NEWLINE",
    "BINARY_NEEDS_BDAT",
    "CONTROL_CHARACTERS",
    "EIGHT_BIT",
    "LINE_TOO_LONG",
    "MESSAGE_TOO_LARGE",
    "NEEDS_SMTPUTF8",
    "NOT_IMPLEMENTED",
    "NOT_SMTP",
    "NO_ARGUMENT_ALLOWED",
    "NO_END_OF_LINE",
    "NUL_IN_CONTENT",
    "STRAY_NEWLINE",
    "SYNTAX",
    "TWO_HOLDS",
    "UNKNOWN_ATTRIBUTE",
    "UNKNOWN_COMMAND",
    "UNKNOWN_PARAMETER",
    "DataRefused",
    "needs_argument",
    "out_of_sequence",
    "refuse",
    "unknown_verb",
]


class DataRefused(RemoteProtocolError):
    """A DATA that gets no 354. A client had to await that (RFC 2920 section 3.1); what it sent behind it all the same may be a message."""


SYNTAX = Reply.make(500, "5.5.2", "Syntax error")
BARE_NEWLINE = Reply.make(500, "5.5.2", "Lines end with CR LF and with nothing else")
CONTROL_CHARACTERS = Reply.make(500, "5.5.2", "Control characters have no place in a command")
EIGHT_BIT = Reply.make(500, "5.5.2", "Characters beyond ASCII have no place in this command")
LINE_TOO_LONG = Reply.make(500, "5.5.2", "Line too long")
NO_END_OF_LINE = Reply.make(421, "4.5.2", "No end of line in sight, closing the connection")
NOT_SMTP = Reply.make(421, "4.7.0", "This is not SMTP, closing the connection")
UNKNOWN_COMMAND = Reply.make(500, "5.5.1", "Command not recognised")
NOT_IMPLEMENTED = Reply.make(502, "5.5.1", "Command not implemented")
NO_ARGUMENT_ALLOWED = Reply.make(501, "5.5.4", "This command takes no argument")
BAD_PARAMETER = Reply.make(501, "5.5.4", "Parameter malformed or given twice")
UNKNOWN_ATTRIBUTE = Reply.make(501, "5.5.4", "Attribute not recognised")
TWO_HOLDS = Reply.make(501, "5.5.4", "HOLDFOR and HOLDUNTIL exclude each other")
UNKNOWN_PARAMETER = Reply.make(555, "5.5.4", "Parameter not recognised or not supported")
NEEDS_SMTPUTF8 = Reply.make(553, "5.6.7", "Address needs SMTPUTF8, or is not valid with it")
MESSAGE_TOO_LARGE = Reply.make(552, "5.3.4", "Message is larger than the limit announced")
BAD_CHUNK_SIZE = Reply.make(421, "4.5.4", "Cannot tell where this chunk ends, closing the connection")
# RFC 4954 sections 4 and 6
AUTH_LINE_TOO_LONG = Reply.make(500, "5.5.6", "Authentication exchange line is too long")
BAD_BASE64 = Reply.make(501, "5.5.2", "Cannot decode base64")
BINARY_NEEDS_BDAT = Reply.make(503, "5.5.1", "BODY=BINARYMIME goes with BDAT only")
# the two faults of content; permanent, so that a broken or a forging client does not come again for days
STRAY_NEWLINE = Reply.make(550, "5.5.2", "Message contains a bare CR or bare LF")
NUL_IN_CONTENT = Reply.make(550, "5.6.0", "Message contains a NUL character")

_NO_RECIPIENT = Reply.make(554, "5.5.1", "No valid recipients")
_ONLY_QUIT = Reply.make(503, "5.5.1", "No service here; send QUIT")
_SEND_RSET = Reply.make(503, "5.5.1", "A chunk was refused; send RSET")
_HELLO_FIRST = Reply.make(503, "5.5.1", "Send HELO or EHLO first")
_OUT_OF_SEQUENCE: dict[Kind, Reply] = {
    Kind.MAIL: Reply.make(503, "5.5.1", "A mail transaction is already open"),
    Kind.RCPT: Reply.make(503, "5.5.1", "Send MAIL first"),
    Kind.DATA: Reply.make(503, "5.5.1", "Send MAIL and RCPT first"),
    Kind.BDAT: Reply.make(503, "5.5.1", "Send MAIL and RCPT first"),
}
_BAD_SEQUENCE = Reply.make(503, "5.5.1", "Bad sequence of commands")
_BY_STATE: dict[State, Reply] = {
    State.UNWELCOME: _ONLY_QUIT,
    State.BROKEN: _SEND_RSET,
    State.START: _HELLO_FIRST,
}
_ARGUMENT_NEEDED = Reply.make(501, "5.5.4", "This command needs an argument")

# Verbs that RFCs once defined, or still do, and that we know and do not have (RFC 5321 section 4.2.4: 502, not 500)
_KNOWN_ELSEWHERE = frozenset(
    (
        "SEND",
        "SOML",
        "SAML",
        "TURN",
        "ATRN",
        "BURL",
        "STARTTLS",
        "AUTH",
        "DEBUG",
        "WIZ",
        "XEXCH50",
    )
)


def unknown_verb(verb: str) -> Reply:
    """Return the reply for a verb that neither the machine nor a plugin knows: 502 for what others have, else 500."""
    return NOT_IMPLEMENTED if verb.upper() in _KNOWN_ELSEWHERE else UNKNOWN_COMMAND


def out_of_sequence(state: State, kind: Kind) -> Reply:
    """Return the reply for `kind` in a state where it may not come."""
    if state is State.ALL_REFUSED and kind in (Kind.DATA, Kind.BDAT):
        return _NO_RECIPIENT
    return _BY_STATE.get(state) or _OUT_OF_SEQUENCE.get(kind, _BAD_SEQUENCE)


def needs_argument() -> RemoteProtocolError:
    """Make the error for a verb that stands alone and may not."""
    return RemoteProtocolError("argument missing", _ARGUMENT_NEEDED)


def refuse(reply: Reply) -> RemoteProtocolError:
    """Make the error that carries `reply`."""
    return RemoteProtocolError(reply.text, reply)
