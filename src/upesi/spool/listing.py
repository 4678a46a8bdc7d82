"""What operators see of the queue: values, and the questions that give them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import msgspec

from upesi.database.sqlite import Database, Value
from upesi.mail.ids import message_id_from
from upesi.mail.outcome import Outcome
from upesi.spool.records import RETURNED, Delivery, DeliveryState, SpoolEvent
from upesi.spool.rows import DELIVERY_COLUMNS, UnknownFormat, delivery_from, event_from
from upesi.spool.selector import Selector, where
from upesi.spool.store import SpoolDamaged

__all__ = [
    "Cancelled",
    "Changed",
    "Listed",
    "QueueSummary",
    "QueueTotals",
    "Shown",
    "Why",
    "events_after",
    "listed",
    "reasons",
    "summary",
    "totals",
    "trace",
]

_MAX_TRACE = 10_000

# what brings a delivery into a state
_CHANGES = {
    "delivery.held": "held",
    "delivery.retried": "retried",
}


class Changed(msgspec.Struct, frozen=True):
    """How many deliveries were changed, and how many of those selected were not because a worker holds them.

    `queues` are those of what was changed in place; empty where nothing was, or where they are too many to name.
    """

    changed: int
    active: int
    queues: tuple[str, ...] = ()


class Cancelled(msgspec.Struct, frozen=True):
    """One cancelled delivery; `sender` (empty: null reverse-path) may be owed a notice, and was promised one where it was `returning`."""

    message: str
    sender: str
    recipients: tuple[str, ...]
    returning: bool = False


class Listed(msgspec.Struct, frozen=True):
    """One line of a listing. `problem` says why a row cannot be read, where it cannot; `labels` are what plugins called the mail.

    `returning`: an operator gives it back to its sender; it is tried no more.
    """

    delivery: int
    message: str
    queue: str
    state: str
    sender: str
    recipients: tuple[str, ...]
    received: float
    due: float
    expires: float
    attempts: int
    size: int
    last: Outcome | None = None
    problem: str = ""
    labels: dict[str, str] = {}
    returning: bool = False


class Shown(msgspec.Struct, frozen=True):
    """A queued message: its deliveries and where it came from."""

    message: str
    sender: str
    received: float
    size: int
    deliveries: tuple[Listed, ...]


class Why(msgspec.Struct, frozen=True):
    """Why a delivery is where it is: its state since when, what came of the last attempt, and when the next is.

    `since` is when it came into its state: when it was held, else when its message was received, however often it was tried since.
    `retried` is when an operator or ETRN last made it due, or None. `set_aside` says why it is held where that was no operator.
    """

    delivery: int
    queue: str
    state: str
    since: float
    recipients: tuple[str, ...]
    attempts: int
    last: Outcome | None
    next_try: float | None
    expires: float
    retried: float | None = None
    set_aside: str = ""
    returning: bool = False


class QueueSummary(msgspec.Struct, frozen=True):
    """Counts of one queue by state."""

    queue: str
    routing: int
    ready: int
    active: int
    held: int
    next_due: float | None


class QueueTotals(msgspec.Struct, frozen=True):
    """Deliveries of the whole spool by state; `oldest` is when the oldest of their messages was received, None where there is none."""

    routing: int
    ready: int
    active: int
    held: int
    oldest: float | None


def listed(database: Database, selector: Selector, limit: int, after: int, now: float) -> list[Listed]:
    """Return up to `limit` selected deliveries with numbers greater than `after`; raise ValueError."""
    condition, values = where(selector, now)
    sql = f"SELECT {DELIVERY_COLUMNS}, sender FROM delivery WHERE id > ? AND {condition} ORDER BY id LIMIT ?"
    return [_listed(row) for row in database.rows(sql, after, *values, limit)]


def trace(database: Database, message: str) -> list[SpoolEvent]:
    """Return the events of a message, oldest first."""
    sql = "SELECT at, kind, message, fields FROM event WHERE message = ? ORDER BY position LIMIT ?"
    return [event_from(row) for row in database.rows(sql, message_id_from(message), _MAX_TRACE)]


def events_after(database: Database, after: int, limit: int) -> list[tuple[int, SpoolEvent]]:
    """Return events with positions greater than `after`, in order."""
    sql = "SELECT position, at, kind, message, fields FROM event WHERE position > ? ORDER BY position LIMIT ?"
    return [(cast(int, row[0]), event_from(row[1:])) for row in database.rows(sql, after, limit)]


def summary(database: Database) -> list[QueueSummary]:
    """Return the counts of every queue that holds something, from the queue index alone."""
    rows = database.rows(
        "SELECT key, routing, ready, active, held, next_due FROM queue WHERE routing OR ready OR active OR held ORDER BY key"
    )
    return [QueueSummary(*row) for row in rows]  # type: ignore[arg-type]


def totals(database: Database) -> QueueTotals:
    """Count everything, from the queue index; ids rise with time, so the least of them is the oldest message's."""
    ((*counts,),) = database.rows("SELECT sum(routing), sum(ready), sum(active), sum(held) FROM queue")
    oldest = database.value("SELECT received FROM delivery ORDER BY message LIMIT 1")
    routing, ready, active, held = (int(cast(int, count or 0)) for count in counts)
    return QueueTotals(routing, ready, active, held, cast("float | None", oldest))


def reasons(database: Database, message: str, limit: int, now: float) -> list[Why]:
    """Say of each delivery of a message why it waits."""
    sql = (
        "SELECT at, kind, message, fields FROM event WHERE message = ? AND kind IN "
        f"({', '.join('?' * len(_CHANGES))}) ORDER BY position DESC LIMIT ?"
    )
    rows = database.rows(sql, message_id_from(message), *_CHANGES, _MAX_TRACE)
    moments = _Moments(event_from(row) for row in rows)
    return [_why(delivery, moments) for delivery in listed(database, Selector(message=message), limit, 0, now)]


def _listed(row: Sequence[Value]) -> Listed:
    *columns, sender = row
    problem = ""
    delivery: Delivery | None = None
    try:
        delivery = delivery_from(columns)
    except (SpoolDamaged, UnknownFormat) as error:
        problem = str(error)
    number, message, queue, state, due, expires, received, attempts, size, _, _ = columns
    if not _whole(columns):
        # a page of zeros reads as rows of nothing
        return Listed(cast(int, number), "", str(queue), "held", "", (), 0.0, 0.0, 0.0, 0, 0, None, problem)
    return Listed(
        cast(int, number), cast(bytes, message).hex(), cast(str, queue), DeliveryState(cast(int, state)).name.lower(), cast(str, sender),
        tuple(str(recipient.address) for recipient in delivery.recipients) if delivery else (),
        cast(float, received), cast(float, due), cast(float, expires), cast(int, attempts), cast(int, size),
        delivery.last if delivery else None, problem, delivery.labels.given if delivery and delivery.recipients else {},
        expires == RETURNED,
    )  # fmt: skip


def _whole(columns: Sequence[Value]) -> bool:
    """Whether the columns that a listing shows as they are have the types and values that they should."""
    _, message, queue, state, *numbers, _, _ = columns
    return (
        isinstance(message, bytes)
        and isinstance(queue, str)
        and state in set(DeliveryState)
        and all(isinstance(number, int | float) for number in numbers)
    )


class _Moments:
    """When something last happened to whom, by what it means. Built once for all deliveries of a message.

    Attempts give a delivery a new number, so what happened before is found by its recipients.
    """

    __slots__ = ("_asides", "_births", "_whole", "_words")

    def __init__(self, events: Iterable[SpoolEvent]) -> None:
        # the whole message's, and by (change, last word of an address): the addresses of an event are divided by blanks, which a quoted
        # local part may have in it
        self._whole: dict[str, float] = {}
        self._words: dict[tuple[str, str], float] = {}
        # when and why a delivery, by its number, was last held: one that is held keeps its number
        self._asides: dict[int, tuple[float, str]] = {}
        # what was accepted to be held had no number then: why, by the words of addresses, and by "" for the whole message
        self._births: dict[str, str] = {}
        for event in events:
            change = _CHANGES[event.kind]
            if change == "held" and (number := event.fields.get("delivery")) is None:
                self._births.update(
                    dict.fromkeys(str(event.fields.get("to", "")).split(" "), str(event.fields.get("reason", "")))
                )
            elif change == "held":
                aside = event.at, str(event.fields.get("reason", ""))
                self._asides[cast(int, number)] = max(aside, self._asides.get(cast(int, number), aside))
            if (to := event.fields.get("to")) is None:
                self._whole[change] = max(event.at, self._whole.get(change, 0.0))
                continue
            for word in str(to).split(" "):
                key = change, word
                self._words[key] = max(event.at, self._words.get(key, 0.0))

    def last(self, change: str, recipients: Sequence[str]) -> float | None:
        """Return when `change` last came to one of `recipients`, None if it never did."""
        found = [self._words.get((change, address.rpartition(" ")[2])) for address in recipients]
        return max((at for at in (*found, self._whole.get(change)) if at is not None), default=None)

    def set_aside(self, delivery: int, recipients: Sequence[str]) -> str:
        """Return why a delivery that is held was set aside; empty where an operator holds it."""
        if (aside := self._asides.get(delivery)) is not None:
            return aside[1]
        words = (address.rpartition(" ")[2] for address in recipients)
        return next((self._births[word] for word in words if word in self._births), self._births.get("", ""))


def _why(delivery: Listed, moments: _Moments) -> Why:
    waiting = delivery.state in ("routing", "ready")
    held = delivery.state == "held"
    since = (moments.last("held", delivery.recipients) if held else None) or delivery.received
    retried = moments.last("retried", delivery.recipients) if waiting else None
    return Why(
        delivery.delivery, delivery.queue, delivery.state, since, delivery.recipients, delivery.attempts, delivery.last,
        delivery.due if waiting else None, delivery.expires, retried,
        moments.set_aside(delivery.delivery, delivery.recipients) if held else "", delivery.returning,
    )  # fmt: skip
