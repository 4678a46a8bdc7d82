"""Who is told that mail still waits, and when: once for each recipient (RFC 3461 section 5.2.5, RFC 2852 section 4).

A notice is written when an attempt has failed, in the transaction that puts the delivery off. Attempts are hours apart, so the one
nearest to the time set is taken, be it a little before. Whoever has been told carries that in the spool; so does whoever is not to be
told, for to find that out the message must be read, and once is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from upesi.mail.envelope import TOLD, Notify, Recipient
from upesi.mail.outcome import Outcome
from upesi.scheduler.hooks import SHORTEST
from upesi.spool.records import Delivery, NewDelivery, StoredMessage

__all__ = ["Delays"]


class Delays:
    """Applies the general rule: after `after` seconds (0: never) of the `lifetime` for which mail is tried."""

    __slots__ = ("_after", "_lifetime")

    def __init__(self, after: float, lifetime: float) -> None:
        self._after = after
        self._lifetime = lifetime

    def since(self, delivery: Delivery) -> float:
        """Return from when on `delivery` waits: mail that was held for later waits from its release on (RFC 4865)."""
        return max(delivery.received, delivery.expires - self._lifetime)

    def capped(self, delivery: Delivery, now: float, due: float) -> float:
        """Return when to try again at the latest, so that a notice that was asked for at a certain time comes at that time."""
        for recipient in delivery.recipients:
            at = recipient.tell_delay
            if at is not None and now + SHORTEST < at < due:
                due = at
        return due

    def concerns(self, delivery: Delivery, now: float, due: float) -> bool:
        """Whether somebody may have to be told of `delivery` if it is put off until `due`: then its message is needed."""
        return any(self._is_time(delivery, recipient, now, due) for recipient in delivery.recipients)

    def told(
        self, message: StoredMessage, delivery: Delivery, remaining: Sequence[NewDelivery], now: float
    ) -> tuple[tuple[NewDelivery, ...], tuple[tuple[Recipient, Outcome], ...]]:
        """Return `remaining` with a mark at those whose time has come, and those of them whose sender is told."""
        marked: list[NewDelivery] = []
        told: list[tuple[Recipient, Outcome]] = []
        for each in remaining:
            recipients = tuple(self._mark(delivery, recipient, now, each.due) for recipient in each.recipients)
            if recipients == each.recipients or each.last is None:
                marked.append(each)
                continue
            marked.append(msgspec.structs.replace(each, recipients=recipients))
            told += [
                (before, each.last)
                for before, after in zip(each.recipients, recipients, strict=True)
                if before is not after and _asked(message, before)
            ]
        return tuple(marked), tuple(told)

    def _mark(self, delivery: Delivery, recipient: Recipient, now: float, due: float) -> Recipient:
        if not self._is_time(delivery, recipient, now, due):
            return recipient
        return msgspec.structs.replace(recipient, tell_delay=TOLD)

    def _is_time(self, delivery: Delivery, recipient: Recipient, now: float, due: float) -> bool:
        if recipient.notify is not None and not recipient.notify & Notify.DELAY:
            return False
        at = recipient.tell_delay
        if at is None:
            if not self._after:
                return False
            at = self.since(delivery) + self._after
        return now >= at or (at < due and at - now <= due - at)


def _asked(message: StoredMessage, recipient: Recipient) -> bool:
    """Whether the sender wants to know: by NOTIFY or BY, or because it was submitted; a stranger's address may be forged (DSN-01)."""
    return (
        recipient.notify is not None or recipient.tell_delay is not None or message.origin.get("role") == "submission"
    )
