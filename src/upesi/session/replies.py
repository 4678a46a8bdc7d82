"""The server's own words: every fixed reply, made once. Texts are short and say what the client may do, never why we failed.

All carry an enhanced status but the greeting, the answers to HELO and EHLO, and 354 (RFC 2034 section 4).
"""

from __future__ import annotations

from typing import Final

from upesi.mail.reply import Reply

__all__ = [
    "ALREADY_SECURE",
    "BAD_SEQUENCE",
    "BYE",
    "BY_BEFORE_RELEASE",
    "BY_TOO_SOON",
    "CHUNK_OK",
    "FAILED",
    "HELD_TOO_LONG",
    "IMPROPER_PIPELINING",
    "MAIL_OK",
    "MEMORY_FULL",
    "MESSAGE_TOO_BIG",
    "NOOP_OK",
    "NOT_ACCEPTED_BY_ALL",
    "NOT_IMPLEMENTED",
    "NOT_RELAYED",
    "NOT_STORED",
    "NOT_VERIFIED",
    "NO_RECIPIENTS",
    "OUT_OF_TURN",
    "PARTING",
    "PRIORITY_CHANGED",
    "RCPT_OK",
    "REQUIRETLS_NEEDS_TLS",
    "RSET_OK",
    "SESSION_TOO_LONG",
    "SPOOL_FULL",
    "START_DATA",
    "START_TLS",
    "STOPPING",
    "SYNTAX",
    "TIMEOUT",
    "TLS_NOT_NOW",
    "TLS_REQUIRED",
    "TOO_FAST_CONNECTIONS",
    "TOO_MANY_AUTH_FAILURES",
    "TOO_MANY_CLIENT_ERRORS",
    "TOO_MANY_COMMANDS",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_ERRORS",
    "TOO_MANY_IDLE",
    "TOO_MANY_MESSAGES",
    "TOO_MANY_MESSAGES_HERE",
    "TOO_MANY_NOTICES",
    "TOO_MANY_RECIPIENTS",
    "TOO_MANY_RECIPIENTS_NOW",
    "TOO_MANY_SESSIONS",
    "TOO_MANY_UNKNOWN",
    "TOO_SLOW",
    "queued_as",
]

MAIL_OK: Final[Reply] = Reply.make(250, "2.1.0", "Ok")
RCPT_OK: Final[Reply] = Reply.make(250, "2.1.5", "Ok")
START_DATA: Final[Reply] = Reply.make(354, "", "End data with <CR><LF>.<CR><LF>")
CHUNK_OK: Final[Reply] = Reply.make(250, "2.0.0", "Ok")
RSET_OK: Final[Reply] = Reply.make(250, "2.0.0", "Ok")
NOOP_OK: Final[Reply] = Reply.make(250, "2.0.0", "Ok")
# RFC 3207 section 4 and 4.1
START_TLS: Final[Reply] = Reply.make(220, "2.0.0", "Ready to start TLS")
TLS_NOT_NOW: Final[Reply] = Reply.make(454, "4.7.0", "TLS not available due to temporary reason")
TLS_REQUIRED: Final[Reply] = Reply.make(530, "5.7.0", "Must issue a STARTTLS command first")
ALREADY_SECURE: Final[Reply] = Reply.make(503, "5.5.1", "TLS is active already")
BYE: Final[Reply] = Reply.make(221, "2.0.0", "Bye")

# RFC 6710 section 4 and the status that it registers
PRIORITY_CHANGED: Final[Reply] = Reply.make(250, "2.3.6", "Ok, with a lower priority than asked for")
# RFC 8689 section 2: meant for sessions inside TLS only
REQUIRETLS_NEEDS_TLS: Final[Reply] = Reply.make(530, "5.7.10", "REQUIRETLS needs TLS: send STARTTLS first")
HELD_TOO_LONG: Final[Reply] = Reply.make(
    501, "5.5.4", "Mail is not held for that long: see FUTURERELEASE in the answer to EHLO"
)
BY_TOO_SOON: Final[Reply] = Reply.make(
    501, "5.5.4", "Time of BY is below the least: see DELIVERBY in the answer to EHLO"
)
BY_BEFORE_RELEASE: Final[Reply] = Reply.make(501, "5.5.4", "Time of BY is over before the mail may go")

# CMD-16: the same words whether the user exists or not (RFC 5321 section 7.3)
NOT_VERIFIED: Final[Reply] = Reply.make(252, "2.0.0", "Cannot VRFY user, but will take mail and try")
NOT_IMPLEMENTED: Final[Reply] = Reply.make(502, "5.5.1", "Command not implemented")
SYNTAX: Final[Reply] = Reply.make(500, "5.5.2", "Syntax error")
BAD_SEQUENCE: Final[Reply] = Reply.make(503, "5.5.1", "Bad sequence of commands")

SPOOL_FULL: Final[Reply] = Reply.make(452, "4.3.1", "Insufficient system storage")
# the same to a client; to the operator whom it is shown, `df` would say nothing
MEMORY_FULL: Final[Reply] = Reply.make(452, "4.3.1", "Out of memory for now, try again later")
NOT_STORED: Final[Reply] = Reply.make(451, "4.3.0", "Mail system error, try again later")
MESSAGE_TOO_BIG: Final[Reply] = Reply.make(552, "5.3.4", "Message is larger than the limit")
NOT_RELAYED: Final[Reply] = Reply.make(550, "5.7.1", "We take no mail for this recipient from you")
# RFC 5321 section 4.5.3.1.10: 452, so that the client sends the rest in another transaction
TOO_MANY_RECIPIENTS: Final[Reply] = Reply.make(452, "4.5.3", "Too many recipients")
# RFC 5321 section 3.1, RFC 2920 section 3.1: a client that does not await the greeting, or an answer that it must await
OUT_OF_TURN: Final[Reply] = Reply.make(554, "5.5.1", "You spoke before it was your turn")
NO_RECIPIENTS: Final[Reply] = Reply.make(554, "5.5.1", "No valid recipients")
NOT_ACCEPTED_BY_ALL: Final[Reply] = Reply.make(451, "4.7.1", "Not accepted for every recipient, try each by itself")

# RFC 5321 section 3.8: a server that closes on its own account says 421 first
FAILED: Final[Reply] = Reply.make(421, "4.3.0", "Mail system error, closing connection")
STOPPING: Final[Reply] = Reply.make(421, "4.3.2", "Service is stopping, try again later")
TOO_MANY_SESSIONS: Final[Reply] = Reply.make(421, "4.3.2", "Too many connections, try again later")
TIMEOUT: Final[Reply] = Reply.make(421, "4.4.2", "Timeout, closing connection")
TOO_SLOW: Final[Reply] = Reply.make(421, "4.4.2", "Data comes too slowly, closing connection")
SESSION_TOO_LONG: Final[Reply] = Reply.make(421, "4.4.2", "Session is too long, closing connection")
# what one network did, over all sessions and workers (`clients`)
TOO_MANY_CONNECTIONS: Final[Reply] = Reply.make(421, "4.7.0", "Too many connections from your network, try again later")
TOO_FAST_CONNECTIONS: Final[Reply] = Reply.make(
    421, "4.7.0", "Connections from your network come too fast, try again later"
)
TOO_MANY_CLIENT_ERRORS: Final[Reply] = Reply.make(421, "4.7.0", "Too many errors from your network, try again later")
TOO_MANY_MESSAGES: Final[Reply] = Reply.make(450, "4.7.1", "Too many messages from your network, try again later")
TOO_MANY_NOTICES: Final[Reply] = Reply.make(
    452, "4.5.3", "Too many notices asked for from your network, try again later"
)
TOO_MANY_RECIPIENTS_NOW: Final[Reply] = Reply.make(
    452, "4.5.3", "Too many recipients from your network, try again later"
)
TOO_MANY_UNKNOWN: Final[Reply] = Reply.make(
    450, "4.7.1", "Too many unknown recipients from your network, try again later"
)
# RFC 9422 section 4.1: who goes on beyond MAILMAX connects again
TOO_MANY_MESSAGES_HERE: Final[Reply] = Reply.make(421, "4.7.0", "Too many messages in one session, connect again")
TOO_MANY_ERRORS: Final[Reply] = Reply.make(421, "4.7.0", "Too many errors, closing connection")
TOO_MANY_AUTH_FAILURES: Final[Reply] = Reply.make(421, "4.7.0", "Too many failed authentications, closing connection")
TOO_MANY_IDLE: Final[Reply] = Reply.make(421, "4.7.0", "Too many commands without mail, closing connection")
TOO_MANY_COMMANDS: Final[Reply] = Reply.make(421, "4.7.0", "Too many commands, closing connection")
IMPROPER_PIPELINING: Final[Reply] = Reply.make(421, "4.7.0", "Improper pipelining, closing connection")
PARTING: Final[Reply] = Reply.make(421, "4.7.0", "Closing connection")


def queued_as(id: str) -> Reply:
    """Return the answer to the end of a message that is now ours; `id` is hexadecimal.

    Built by hand: `Reply.make` would check and clean what cannot be wrong, once per message.
    """
    text = f"Ok: queued as {id}"
    return Reply(250, "2.0.0", (text,), f"250 2.0.0 {text}\r\n".encode())
