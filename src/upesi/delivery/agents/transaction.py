"""One mail transaction as the client sees it: which recipients were accepted, what became of each. Pure.

Every recipient has exactly one outcome in the end: the one its RCPT was refused with, else what refused the whole (MAIL, DATA), else
the reply after the end of the data (RFC 5321 section 3.3; LMTP: one such reply for each accepted recipient, RFC 2033 section 4.2).
"""

from __future__ import annotations

import msgspec

from upesi.delivery.agents.preparing import SMALL
from upesi.delivery.outcomes import from_rcpt_reply, from_reply
from upesi.mail.outcome import Outcome
from upesi.protocol.smtp.answers import ReceivedReply
from upesi.scheduler.work import Attempt

__all__ = ["Transaction"]


class Transaction:
    """The state of one attempt on one connection.

    `ahead`: its commands went out behind the data of the one before. `kept`: it was started on a connection that had been used
    already. `tls` is how the connection was protected. `replies` counts the replies it got. `data_sent` is set when its end of data has
    been handed to the transport.
    """

    __slots__ = (
        "accepted", "ahead", "attempt", "bdat", "data_sent", "kept", "mail_accepted", "outcomes", "replies", "size",
        "tls",
    )  # fmt: skip

    def __init__(self, attempt: Attempt, *, ahead: bool, kept: bool, bdat: bool, tls: str = "") -> None:
        self.attempt = attempt
        self.tls = tls
        self.ahead = ahead
        self.kept = kept
        self.bdat = bdat
        self.size = len(attempt.message.prefix) + attempt.message.body.size
        self.replies = 0
        self.mail_accepted = False
        self.data_sent = False
        # indexes of recipients that were accepted and have no outcome yet, in order
        self.accepted: list[int] = []
        self.outcomes: list[Outcome | None] = [None] * len(attempt.recipients)

    @property
    def small(self) -> bool:
        """Whether the content goes out in one write."""
        return self.size <= SMALL

    def mail_reply(self, reply: ReceivedReply, remote: str) -> None:
        """Take the reply to MAIL; anything but 2xx decides for everybody."""
        self.replies += 1
        if 200 <= reply.code < 300:
            self.mail_accepted = True
        else:
            self.settle_rest(from_reply(reply, remote))

    def rcpt_reply(self, reply: ReceivedReply, remote: str) -> None:
        """Take the reply to a RCPT; 251 and 252 accept like 250 (RFC 5321 section 3.4)."""
        self.replies += 1
        index = reply.recipient or 0
        if self.outcomes[index] is not None:
            return  # MAIL was refused: what follows says nothing new
        if 200 <= reply.code < 300:
            self.accepted.append(index)
        else:
            self.outcomes[index] = from_rcpt_reply(reply, remote)

    def settle_accepted(self, outcome: Outcome) -> None:
        """Give `outcome` to every recipient that was accepted and waits."""
        for index in self.accepted:
            self.outcomes[index] = outcome
        self.accepted.clear()

    def settle_one(self, index: int, outcome: Outcome) -> None:
        """Give `outcome` to one accepted recipient (LMTP)."""
        if index in self.accepted:
            self.outcomes[index] = outcome
            self.accepted.remove(index)

    def settle_rest(self, outcome: Outcome) -> None:
        """Give `outcome` to every recipient that has none."""
        self.outcomes = [outcome if known is None else known for known in self.outcomes]
        self.accepted.clear()

    def result(self) -> tuple[Outcome, ...]:
        """Return the outcome of every recipient, in order; all must have one."""
        outcomes = tuple(outcome for outcome in self.outcomes if outcome is not None)
        return tuple(msgspec.structs.replace(outcome, tls=self.tls) for outcome in outcomes) if self.tls else outcomes
