"""What holds on one connection, as its server and we agreed when it was opened: what can be sent over it, and how it is said.

Pure but for the clock that it is given. Asked once for each message, before MAIL.
"""

from __future__ import annotations

from collections.abc import Callable

from upesi.client.connection import Connection
from upesi.delivery.agents.deadline import overdue, seconds_left
from upesi.delivery.agents.preparing import refusal, transmission_for, uses_bdat
from upesi.delivery.agents.transaction import Transaction
from upesi.mail.envelope import Transmission
from upesi.mail.outcome import Action, Outcome
from upesi.scheduler.work import Attempt

__all__ = ["Terms"]


class Terms:
    """The terms of `connection`; `wall` gives wall-clock seconds.

    `action` is what senders hear who asked to be told of success: the next hop tells them itself where it knows how (RFC 3461 section 5.2).
    `recipients` is how many the server takes in one transaction, 0 where it does not say.
    """

    __slots__ = ("_extensions", "_fit", "_machine", "_tls", "_wall", "action", "recipients")

    def __init__(self, connection: Connection, wall: Callable[[], float]) -> None:
        machine = self._machine = connection.machine
        extensions = self._extensions = machine.extensions
        self._wall = wall
        self._tls = connection.protection
        # for mail with REQUIRETLS
        self._fit = connection.local or (connection.verified and extensions.requiretls)
        self.action: Action | None = None
        if not extensions.dsn:
            self.action = Action.DELIVERED if machine.lmtp else Action.RELAYED
        # RFC 9422 (C108). So many recipients have at most so many domains
        limits = (extensions.rcpt_max, extensions.rcpt_domain_max)
        self.recipients = min((limit for limit in limits if limit), default=0)

    def refusal(self, attempt: Attempt) -> Outcome | None:
        """Return why this message can never be sent here; None if it can."""
        transmission = attempt.message.transmission
        outcome = refusal(attempt, self._extensions, self._fit)
        if outcome is None and transmission.by is not None:
            outcome = overdue(transmission, self._extensions, self._wall(), final=self._machine.lmtp)
        return outcome

    def transaction(self, attempt: Attempt, *, ahead: bool, kept: bool) -> Transaction:
        """Begin a transaction for a message that can be sent."""
        return Transaction(attempt, ahead=ahead, kept=kept, bdat=uses_bdat(attempt, self._extensions), tls=self._tls)

    def envelope(self, attempt: Attempt) -> list[bytes]:
        """Return MAIL and every RCPT, to be sent as one group."""
        machine, message = self._machine, attempt.message
        size, transmission, left = self._sender(attempt)
        octets = [machine.mail(message.reverse_path, transmission, size, left)]
        octets += [machine.rcpt(recipient) for recipient in attempt.recipients]
        return octets

    def _sender(self, attempt: Attempt) -> tuple[int, Transmission, int | None]:
        """Return what MAIL says besides the reverse-path."""
        message = attempt.message
        transmission = transmission_for(attempt, self._extensions, self._fit)
        left = seconds_left(transmission, self._wall()) if transmission.by is not None else None
        return len(message.prefix) + message.body.size, transmission, left

    def commands(self, attempt: Attempt) -> list[Callable[[], bytes]]:
        """Return what builds MAIL and each RCPT, where each waits for the reply to the one before."""
        machine, message = self._machine, attempt.message
        size, transmission, left = self._sender(attempt)
        commands: list[Callable[[], bytes]] = [lambda: machine.mail(message.reverse_path, transmission, size, left)]
        commands += [lambda r=recipient: machine.rcpt(r) for recipient in attempt.recipients]  # type: ignore[misc]
        return commands
