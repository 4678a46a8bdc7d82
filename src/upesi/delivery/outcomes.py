"""From replies, and from things that went wrong on our side, to outcomes. Pure. What a reply means is known in `upesi.outcome`."""

from __future__ import annotations

from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.reply import printable
from upesi.outcome.classify import Stage, outcome_of
from upesi.protocol.smtp.answers import ReceivedReply

__all__ = ["deferred", "failed", "from_rcpt_reply", "from_reply"]


def from_reply(reply: ReceivedReply, remote: str, action: Action | None = None) -> Outcome:
    """Return what `reply` (2xx, 4xx or 5xx) means for a recipient; where it is delivered, with `action`."""
    return outcome_of(reply.code, reply.status, reply.text, remote, None, action if reply.code < 300 else None)


def from_rcpt_reply(reply: ReceivedReply, remote: str) -> Outcome:
    """Return what a reply to RCPT other than 2xx means: as `from_reply`, but 452 and 552 put the recipient off (C13)."""
    return outcome_of(reply.code, reply.status, reply.text, remote, Stage.RCPT)


def deferred(status: str, text: str, remote: str = "") -> Outcome:
    """Return an outcome of our own making: try later."""
    return Outcome(OutcomeKind.DEFERRED, 0, status, printable(text), remote)


def failed(status: str, text: str, remote: str = "", code: int = 0) -> Outcome:
    """Return an outcome of our own making: never."""
    return Outcome(OutcomeKind.FAILED, code, status, printable(text), remote)
