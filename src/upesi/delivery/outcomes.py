"""From replies, and from things that went wrong on our side, to outcomes. Pure.

A code counts by its first digit (RFC 5321 section 4.2.1). The enhanced status is the server's where it belongs to the code, else
a plain one of the same class.
"""

from __future__ import annotations

from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.reply import Reply, printable

__all__ = ["deferred", "failed", "from_rcpt_reply", "from_reply"]

_KINDS = {2: OutcomeKind.DELIVERED, 4: OutcomeKind.DEFERRED, 5: OutcomeKind.FAILED}

# RFC 5321 section 4.5.3.1.10: old servers say 552 where they mean 452 "too many recipients"; both mean: the rest later
_TOO_MANY = frozenset((452, 552))


def from_reply(reply: Reply, remote: str) -> Outcome:
    """Return what `reply` means for a recipient; a code that fits nowhere (3xx) is a protocol error, so: later."""
    klass = reply.code // 100
    kind = _KINDS.get(klass)
    if kind is None:
        return Outcome(OutcomeKind.DEFERRED, reply.code, "4.5.0", reply.text, remote)
    status = reply.status
    if not status or ord(status[0]) - 48 != klass:
        status = f"{klass}.0.0"
    return Outcome(kind, reply.code, status, reply.text, remote)


def from_rcpt_reply(reply: Reply, remote: str) -> Outcome:
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
