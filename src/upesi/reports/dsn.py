"""Delivery status notifications (RFC 3461, RFC 3464): who is told what, and the message that tells it.

A notice goes to the reverse-path from the null reverse-path, so that two hosts never bounce at each other (RFC 5321 section 6.1), and
asks for no notice itself. It says for people what happened (`wording`), for programs the same as fields (`fields`), and gives back the
header or the message (`returned`). Nothing remote shapes it: all text is reduced to one printable line and folded (`lines`), what is
quoted is bounded, and no part can hold the boundary (`multipart`).

When a notice is due is decided by the scheduler, in the transaction that ends the delivery.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Notify, Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import OutcomeKind
from upesi.mail.route import Route
from upesi.reports.case import Case, Kind, Told, wanted
from upesi.reports.multipart import notice
from upesi.reports.returned import MAX_HEADER, MAX_RETURNED
from upesi.spool.records import DeliveryState, NewDelivery, NewMessage, StoredMessage, stored

__all__ = ["MAX_HEADER", "MAX_RETURNED", "DsnReporter"]

# Made of the first octets of the message id (its time) and of a digest: the same notice has the same id, and no two have the same
_TIME = 6


class DsnReporter:
    """Implements `scheduler.work.Reporter`.

    `route_for` and `place` say where mail to the reverse-path goes and waits; `lifetime` is how long a notice is tried, in seconds.
    Each method returns None where nobody may or wants to be told.
    """

    def __init__(
        self,
        hostname: str,
        place: Callable[[Route], tuple[str, DeliveryState]],
        route_for: Callable[[Address], Route],
        lifetime: float,
        finished: Callable[[bytes], bytes] = bytes,
    ) -> None:
        """`finished` puts the last touch to a notice, such as a signature."""
        self._finished = finished
        self._hostname = hostname
        self._place = place
        self._route_for = route_for
        self._lifetime = lifetime

    def accepting(self, message: NewMessage, recipients: Told) -> NewMessage | None:
        """Return the notice for recipients of a message that was being accepted: all refused after its data, or all expanded."""
        kind = Kind.FAILURE if recipients[0][1].kind is OutcomeKind.FAILED else Kind.SUCCESS
        digest = hashlib.sha256(kind.name.encode() + message.id).digest()
        id = MessageId(message.id[:_TIME] + digest[: len(message.id) - _TIME])
        return self._about(Case(kind, stored(message), recipients, message.received), id)

    def failed(self, message: StoredMessage, recipients: Told, id: MessageId, now: float) -> NewMessage | None:
        """Return the notice about recipients that will not get the message."""
        return self._about(Case(Kind.FAILURE, message, recipients, now), id)

    def delayed(
        self, message: StoredMessage, recipients: Told, id: MessageId, now: float, until: float
    ) -> NewMessage | None:
        """Return the notice about recipients for whom the message is tried on, `until` then at the most."""
        return self._about(Case(Kind.DELAY, message, recipients, now, until), id)

    def succeeded(self, message: StoredMessage, recipients: Told, id: MessageId, now: float) -> NewMessage | None:
        """Return the notice about recipients whose sender asked to be told: each has its own action in its outcome."""
        return self._about(Case(Kind.SUCCESS, message, recipients, now), id)

    def _about(self, case: Case, id: MessageId) -> NewMessage | None:
        to = case.message.reverse_path
        told = wanted(case.kind, case.told)
        if to is None or not told:
            return None
        case = Case(case.kind, case.message, told, case.now, case.until)
        octets = self._finished(notice(case, to, id, self._hostname))
        transmission = Transmission(
            BodyType.SEVEN_BIT if octets.isascii() else BodyType.EIGHT_BIT,
            smtputf8=case.international and not octets.isascii(),
            # RFC 8689 section 5: what is told of a message is worth as much as the message
            requiretls=case.message.transmission.requiretls,
        )
        return NewMessage(
            id,
            case.now,
            None,
            transmission,
            b"",
            MemoryBody(octets),
            (self._delivery(to, case.now),),
            {"report-for": case.message.id.hex()},
        )

    def _delivery(self, to: Address, now: float) -> NewDelivery:
        route = self._route_for(to)
        queue, state = self._place(route)
        # RFC 3461 section 6.1: a notice must not cause another
        recipient = Recipient(to, notify=Notify.NEVER)
        return NewDelivery(queue, route, (recipient,), now, now + self._lifetime, state)
