"""From the outcomes of an attempt to what the store must record: what remains, who failed, what is remembered. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from upesi.mail.envelope import Notify, Recipient
from upesi.mail.handling import NO_LABELS
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.outcome.classify import classify
from upesi.spool.records import Delivery, DeliveryState, NewDelivery, SpoolEvent

__all__ = ["Conclusion", "conclude", "delivered", "expired", "postponed", "returned", "tells_success"]

_KINDS = {
    OutcomeKind.DELIVERED: "delivery.delivered",
    OutcomeKind.DEFERRED: "delivery.deferred",
    OutcomeKind.FAILED: "delivery.failed",
}

# what makes two recipients' outcomes one: kind, code, status, remote, due. Receivers repeat the address in the text, so the text is no
# part of it (the first one stands)
_Key = tuple[OutcomeKind, int, str, str, float]


class Conclusion(msgspec.Struct):
    """What follows from an attempt of one delivery."""

    remaining: tuple[NewDelivery, ...]
    failed: tuple[tuple[Recipient, Outcome], ...]
    events: tuple[SpoolEvent, ...]
    # delivered, or handed on, and the sender asked to be told
    succeeded: tuple[tuple[Recipient, Outcome], ...] = ()


def tells_success(recipient: Recipient, outcome: Outcome) -> bool:
    """Whether the sender asked to hear of success, and it is for us to tell (RFC 3461 sections 5.2.2 and 5.2.3)."""
    return recipient.notify is not None and bool(recipient.notify & Notify.SUCCESS) and outcome.action is not None


def expired(outcome: Outcome) -> Outcome:
    """Return the final outcome of what was put off until it expired (RFC 3463: X.4.7), with what the receiver last said."""
    return _over("4.4.7", "delivery time expired", outcome)


def returned(outcome: Outcome) -> Outcome:
    """Return the final outcome of what an operator gives back to its sender, with what the receiver last said."""
    return _over("5.0.0", "returned by the postmaster without another attempt", outcome)


def _over(status: str, text: str, last: Outcome) -> Outcome:
    return Outcome(OutcomeKind.FAILED, last.code, status, f"{text}: {last.text}" if last.text else text, last.remote)


def delivered(delivery: Delivery, site: str, outcome: Outcome, now: float) -> SpoolEvent:
    """Return all that follows where a delivery ended well for all its recipients, with one reply: nearly every attempt there is."""
    return _event(delivery, site, outcome, delivery.recipients, now, now, delivery.attempts + 1)


def conclude(
    delivery: Delivery,
    site: str,
    sent: Sequence[Recipient],
    outcomes: Sequence[Outcome],
    *,
    now: float,
    dues: Sequence[float],
    expires: float | None = None,
) -> Conclusion:
    """Sort the recipients of an attempt by what came of them; `dues` is when each would be tried again.

    `expires` is given where the delivery's own expiry is not that by the clock as it goes now (`leaps`).

    What would be due again after its expiry has failed (4.4.7). What remains waits in `site`'s queue, where it was tried.
    """
    end = delivery.expires if expires is None else expires
    groups: dict[_Key, tuple[Outcome, list[Recipient]]] = {}
    failed: list[tuple[Recipient, Outcome]] = []
    succeeded: list[tuple[Recipient, Outcome]] = []
    for recipient, given, due in zip(sent, outcomes, dues, strict=True):
        over = due > end and given.kind is OutcomeKind.DEFERRED
        outcome = expired(given) if over else given
        key = outcome.kind, outcome.code, outcome.status, outcome.remote, due
        group = groups.get(key)
        if group is None:
            groups[key] = outcome, [recipient]
        else:
            group[1].append(recipient)
        if outcome.kind is OutcomeKind.FAILED:
            failed.append((recipient, outcome))
        elif outcome.kind is OutcomeKind.DELIVERED and tells_success(recipient, outcome):
            succeeded.append((recipient, outcome))
    return Conclusion(
        tuple(_again(delivery, site, outcome, tuple(recipients), key[-1])
              for key, (outcome, recipients) in groups.items() if outcome.kind is OutcomeKind.DEFERRED),
        tuple(failed),
        tuple(_event(delivery, site, outcome, recipients, now, key[-1], delivery.attempts + 1)
              for key, (outcome, recipients) in groups.items()),
        tuple(succeeded),
    )  # fmt: skip


def postponed(delivery: Delivery, site: str, outcome: Outcome, *, now: float, due: float) -> Conclusion:
    """Return what follows where nothing was tried: the same delivery later, no attempt counted."""
    recipients = delivery.recipients
    again = NewDelivery(
        site, delivery.route, recipients, due, delivery.expires, DeliveryState.READY, delivery.attempts, outcome
    )
    return Conclusion((again,), (), (_event(delivery, site, outcome, recipients, now, due, delivery.attempts),))


def _again(
    delivery: Delivery, site: str, outcome: Outcome, recipients: tuple[Recipient, ...], due: float
) -> NewDelivery:
    attempts = delivery.attempts + 1
    return NewDelivery(site, delivery.route, recipients, due, delivery.expires, DeliveryState.READY, attempts, outcome)


def _event(
    delivery: Delivery,
    site: str,
    outcome: Outcome,
    recipients: Sequence[Recipient],
    now: float,
    due: float,
    attempt: int,
) -> SpoolEvent:
    fields: dict[str, str | int | float] = {
        "queue": site,
        "recipients": len(recipients),
        "to": str(recipients[0].address)
        if len(recipients) == 1
        else " ".join(str(each.address) for each in recipients),
        "remote": outcome.remote,
        "code": outcome.code,
        "status": outcome.status,
        "text": outcome.text,
        "attempt": attempt,
        "seconds": max(0.0, round(now - delivery.received, 3)),
        "size": delivery.size,
    }
    if outcome.tls:
        fields["tls"] = outcome.tls
    if (labels := recipients[0].labels) is not NO_LABELS:
        fields.update(labels.given)
    if outcome.kind is not OutcomeKind.DELIVERED:
        fields["class"] = classify(outcome)[1]
        if outcome.kind is OutcomeKind.DEFERRED:
            fields["next"] = due
    return SpoolEvent(now, _KINDS[outcome.kind], delivery.message, fields)
