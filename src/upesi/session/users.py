"""What one authenticated user may send, over all sessions and workers of the machine: `[submission]`.

A stolen password is worth as much mail as it can send before somebody notices. The limits go with the user and not with the listener, so
that no other door is wider. A refusal is temporary always, and told once in a while: a mail program that tries again must not fill the log.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from upesi.config.settings import SubmissionSettings
from upesi.config.units import Rate
from upesi.mail.reply import Reply
from upesi.store.counters import Counters

__all__ = ["Users"]

_TOO_MANY_MESSAGES: Final = Reply.make(450, "4.7.1", "Too many messages of this user, try again later")
_TOO_MANY_RECIPIENTS: Final = Reply.make(452, "4.5.3", "Too many recipients of this user, try again later")
# events of one limit of one user, over all workers
_TOLD: Final = Rate("1/1m")


class Users:
    """The limits of one worker's users."""

    __slots__ = ("_counters", "_emit", "_settings")

    def __init__(
        self, counters: Counters, settings: SubmissionSettings, emit: Callable[[str, dict[str, object]], None]
    ) -> None:
        self._counters = counters
        self._settings = settings
        self._emit = emit

    def mail(self, identity: str, listener: str) -> Reply | None:
        """Count a transaction that begins; the reply that refuses it, else None."""
        return self._count("messages", self._settings.user_messages, identity, listener, _TOO_MANY_MESSAGES)

    def rcpt(self, identity: str, listener: str) -> Reply | None:
        """Count a RCPT; the reply that refuses it, else None."""
        return self._count("recipients", self._settings.user_recipients, identity, listener, _TOO_MANY_RECIPIENTS)

    def _count(self, limit: str, rate: Rate, identity: str, listener: str, reply: Reply) -> Reply | None:
        # accounts are compared without regard to case, so Anna has no more than anna
        user = identity.lower().encode()
        if self._counters.take(b"user-%s:%s" % (limit.encode(), user), rate):
            return None
        if self._counters.take(b"told-user-%s:%s" % (limit.encode(), user), _TOLD):
            self._emit(
                "user.limited", {"identity": identity, "limit": limit, "listener": listener, "reply": str(reply)}
            )
        return reply
