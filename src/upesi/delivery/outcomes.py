"""From replies, and from things that went wrong on our side, to outcomes. Pure.

A code counts by its first digit (RFC 5321 section 4.2.1). The enhanced status is the server's, or else a plain one of the same class.
"""

from __future__ import annotations

from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.reply import printable
from upesi.protocol.smtp.client import ReceivedReply

__all__ = ["deferred", "failed", "from_rcpt_reply", "from_reply"]

_KINDS = {2: OutcomeKind.DELIVERED, 4: OutcomeKind.DEFERRED, 5: OutcomeKind.FAILED}

# RFC 5321 section 4.5.3.1.10: old servers say 552 where they mean 452 "too many recipients"; both mean: the rest later
_TOO_MANY = frozenset((452, 552))


def from_reply(reply: ReceivedReply, remote: str) -> Outcome:
    """Return what `reply` (2xx, 4xx or 5xx) means for a recipient."""
    klass = reply.code // 100
    return Outcome(_KINDS[klass], reply.code, reply.status or f"{klass}.0.0", reply.text, remote)


def from_rcpt_reply(reply: ReceivedReply, remote: str) -> Outcome:
    """Return what a reply to RCPT other than 2xx means: as `from_reply`, but 452 and 552 put the recipient off (C13)."""
    if reply.code in _TOO_MANY:
        # 4.5.3 "too many recipients" tells the scheduler that these may follow soon; a status that says otherwise (mailbox full) stays
        status = "4" + reply.status[1:] if reply.status else "4.5.3"
        return Outcome(OutcomeKind.DEFERRED, reply.code, status, reply.text, remote)
    return from_reply(reply, remote)


def deferred(status: str, text: str, remote: str = "") -> Outcome:
    """Return an outcome of our own making: try later."""
    return Outcome(OutcomeKind.DEFERRED, 0, status, printable(text), remote)


def failed(status: str, text: str, remote: str = "", code: int = 0) -> Outcome:
    """Return an outcome of our own making: never."""
    return Outcome(OutcomeKind.FAILED, code, status, printable(text), remote)
