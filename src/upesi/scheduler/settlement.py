"""Making outcomes durable: one `Store.complete` per delivery, with its notice to the sender and its events in the same transaction.

A delivery stays in memory, and counts, until the commit of its outcome. If the store cannot write, the completion is offered again
after a pause: what the receiver has taken must not be sent twice because our disk was full for a minute (promise Q2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from upesi.mail.envelope import Recipient
from upesi.mail.ids import MessageIds
from upesi.mail.outcome import Outcome
from upesi.scheduler.completion import Conclusion, conclude
from upesi.scheduler.memory import Entry, Held, Memory
from upesi.scheduler.retry import RetrySchedule
from upesi.scheduler.tasks import Emit
from upesi.scheduler.work import Reporter
from upesi.spool.records import Completion, Delivery, DeliveryState, NewDelivery, NewMessage, SpoolEvent
from upesi.spool.store import SpoolError, Store

__all__ = ["Settlement"]

# between two offers of a completion that the store could not write; each pause is twice the one before, up to the second
_AGAIN = 1.0
_AGAIN_AT_MOST = 60.0


class Settlement:
    """Records ends of attempts. `wants`, `adopt`, `waiting` and `settled` come from the engine."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        reporter: Reporter | None,
        retry: RetrySchedule,
        ids: MessageIds,
        wall: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        emit: Emit,
    ) -> None:
        self._store = store
        self._memory = memory
        self._reporter = reporter
        self._retry = retry
        self._ids = ids
        self._wall = wall
        self._loop = loop
        self._emit = emit
        # whether a follow-up delivery for this queue may be born in memory
        self.wants: Callable[[str], bool] = _never
        # takes in what was born in memory: the deliveries and their message where we have it
        self.adopt: Callable[[NewMessage | Held | None, Sequence[Delivery]], None] = _nobody
        # told of queues where something waits in the spool for anyone
        self.waiting: Callable[[set[str]], None] = _nothing
        # told when an entry is settled for good
        self.settled: Callable[[Entry], None] = _nothing

    def record(self, entry: Entry, site: str, outcomes: Sequence[Outcome], number: int | None = None) -> None:
        """Record the outcomes of the first `number` recipients of `entry` (all of them without it); the message must be in memory.

        The other recipients go on as a delivery of their own, untried.
        """
        now = self._wall()
        delivery = entry.delivery
        sent = delivery.recipients if number is None else delivery.recipients[:number]
        due = self._retry.due(now, delivery.attempts + 1)
        conclusion = conclude(delivery, site, sent, outcomes, now=now, due=due)
        remaining = conclusion.remaining
        rest = delivery.recipients[len(sent) :]
        if rest:
            remaining += (_untried(delivery, site, rest, now, self.wants(site)),)
        spawn, events = self._reports(entry, conclusion, now)
        self._complete(entry, Completion(delivery.id, delivery.message, remaining, spawn, events))

    def move(self, entry: Entry, queue: str) -> None:
        """Hand `entry` to another queue, untried: its owner will claim it."""
        delivery = entry.delivery
        left = _untried(delivery, queue, delivery.recipients, self._wall(), False)
        self._complete(entry, Completion(delivery.id, delivery.message, (left,)))

    def must_load(self, entry: Entry, outcomes: Sequence[Outcome]) -> bool:
        """Whether recording this may need the message itself, for a report that quotes it, and it is not in memory."""
        if entry.held is not None or self._reporter is None:
            return False
        delivery = entry.delivery
        due = self._retry.due(self._wall(), delivery.attempts + 1)
        # chance may make the real due time later than this one by the jitter: anything that comes near its expiry is read
        late = due + (due - self._wall()) > delivery.expires
        return late or any(outcome.kind == "failed" for outcome in outcomes)

    def _reports(
        self, entry: Entry, conclusion: Conclusion, now: float
    ) -> tuple[tuple[NewMessage, ...], tuple[SpoolEvent, ...]]:
        if not conclusion.failed or self._reporter is None or entry.held is None:
            return (), conclusion.events
        report = self._reporter.failed(entry.held.message, conclusion.failed, self._ids.next(), now)
        if report is None:
            return (), conclusion.events
        deliveries = tuple(_claimed(each, self.wants(each.queue)) for each in report.deliveries)
        fields: dict[str, str | int | float] = {"report": report.id.hex(), "recipients": len(conclusion.failed)}
        bounced = SpoolEvent(now, "message.bounced", entry.delivery.message, fields)
        return (_with(report, deliveries),), (*conclusion.events, bounced)

    def _complete(self, entry: Entry, completion: Completion) -> None:
        if not entry.started:
            entry.started = True
        if entry.path is not None:
            entry.path.completing += 1
        self._offer(entry, completion, _AGAIN)

    def _offer(self, entry: Entry, completion: Completion, pause: float) -> None:
        self._store.complete(completion, partial(self._done, entry, completion, pause))

    def _done(
        self,
        entry: Entry,
        completion: Completion,
        pause: float,
        error: SpoolError | None,
        applied: bool,
        born: Sequence[Delivery],
    ) -> None:
        if error is not None:
            self._emit("delivery.unrecorded", {"message": completion.message.hex(), "error": type(error).__name__})
            self._loop.call_later(pause, self._offer, entry, completion, min(2 * pause, _AGAIN_AT_MOST))
            return
        if applied:
            for event in completion.events:
                self._emit(event.kind, {"message": event.message.hex(), **event.fields})
        else:
            # taken over while we had it: its new owner's record stands
            self._emit("delivery.stale", {"message": completion.message.hex()})
        if applied and (completion.remaining or completion.spawn):
            self._follow(entry, completion, born)
        if entry.path is not None:
            entry.path.completing -= 1
        self._memory.forget(entry)
        self.settled(entry)

    def _follow(self, entry: Entry, completion: Completion, born: Sequence[Delivery]) -> None:
        """Take in what was born in memory, and tell of what waits in the spool."""
        now = self._wall()
        mine = [each for each in born if each.message == completion.message]
        if mine:
            self.adopt(entry.held, mine)
        for message in completion.spawn:
            deliveries = [each for each in born if each.message == message.id]
            if deliveries:
                self.adopt(message, deliveries)
        created = [*completion.remaining, *(each for message in completion.spawn for each in message.deliveries)]
        queues = {each.queue for each in created if not each.claim and each.due <= now}
        if queues:
            self.waiting(queues)


def _untried(delivery: Delivery, queue: str, recipients: tuple[Recipient, ...], now: float, claim: bool) -> NewDelivery:
    return NewDelivery(
        queue,
        delivery.route,
        recipients,
        now,
        delivery.expires,
        DeliveryState.READY,
        delivery.attempts,
        delivery.last,
        claim,
    )


def _claimed(delivery: NewDelivery, claim: bool) -> NewDelivery:
    return NewDelivery(
        delivery.queue, delivery.route, delivery.recipients, delivery.due, delivery.expires, delivery.state, delivery.attempts,
        delivery.last, claim,
    )  # fmt: skip


def _with(message: NewMessage, deliveries: tuple[NewDelivery, ...]) -> NewMessage:
    return NewMessage(
        message.id, message.received, message.reverse_path, message.transmission, message.prefix, message.body, deliveries,
        message.origin, message.notes, message.events,
    )  # fmt: skip


def _never(_queue: str) -> bool:
    return False


def _nobody(_message: NewMessage | Held | None, _deliveries: Sequence[Delivery]) -> None:
    return None


def _nothing(_what: object) -> None:
    return None
