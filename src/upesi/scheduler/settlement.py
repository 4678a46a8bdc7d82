"""Making outcomes durable: one `Store.complete` per delivery, with its notice to the sender and its events in the same transaction.

A delivery stays in memory, and counts, until the commit of its outcome. If the store cannot write, the completion is offered again
after a pause: what the receiver has taken must not be sent twice because our disk was full for a minute (promise Q2). Only one that the
store refuses `TRIES` times, and refuses while it takes others, is given up, so that it does not hold memory for ever: its row
stays ACTIVE, and is sent again after a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from upesi.mail.envelope import Recipient
from upesi.mail.ids import MessageId, MessageIds
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import Route
from upesi.scheduler.completion import Conclusion, conclude, delivered, expired, postponed, tells_success
from upesi.scheduler.consultation import Consultation, Steps
from upesi.scheduler.delays import Delays
from upesi.scheduler.hooks import SHORTEST
from upesi.scheduler.leaps import Leaps
from upesi.scheduler.memory import Entry, Held, Memory
from upesi.scheduler.retry import RetrySchedule
from upesi.scheduler.routing import ROUTING
from upesi.scheduler.tasks import Emit
from upesi.scheduler.work import Reporter
from upesi.spool.records import Completion, Delivery, DeliveryState, NewDelivery, NewMessage, SpoolEvent
from upesi.spool.store import SpoolError, Store

__all__ = ["Settlement"]

# between two offers of a completion that the store could not write; each pause is twice the one before, up to the second
_AGAIN: Final = 1.0
_AGAIN_AT_MOST: Final = 60.0
# Offers of a completion before it is asked whether the store is well and only this one is refused: about five minutes
TRIES: Final = 10
# Changes nothing, but is answered only when the store can commit
_NOTHING: Final = Completion(0, MessageId(bytes(16)))


class Settlement:
    """Records ends of attempts. `wants`, `adopt`, `waiting`, `ended` and `settled` come from the engine."""

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
        consultation: Consultation | None = None,
        delays: Delays | None = None,
        leaps: Leaps | None = None,
    ) -> None:
        """`consultation` is None where no plugin hears of outcomes, `delays` where nobody is told of them."""
        self._store = store
        self._memory = memory
        self._reporter = reporter
        self._retry = retry
        self._ids = ids
        self._wall = wall
        self._loop = loop
        self._emit = emit
        self._consultation = consultation
        self._delays = delays
        self._leaps = leaps if leaps is not None else Leaps(wall, loop.time, 0.0)
        # whether a follow-up delivery for this queue may be born in memory
        self.wants: Callable[[str], bool] = _never
        # takes in what was born in memory: the deliveries and their message where we have it
        self.adopt: Callable[[NewMessage | Held | None, Sequence[Delivery]], None] = _nobody
        # told of queues where something waits in the spool for anyone
        self.waiting: Callable[[set[str]], None] = _nothing
        # told of the end of each attempt, before it is durable: whether all recipients have the mail and nothing follows
        self.ended: Callable[[MessageId, bool], None] = _unheard
        # told when an entry is settled for good
        self.settled: Callable[[Entry], None] = _nothing

    def record(
        self,
        entry: Entry,
        site: str,
        outcomes: Sequence[Outcome],
        number: int | None = None,
        succeeded: tuple[tuple[Recipient, Outcome], ...] | None = None,
    ) -> None:
        """Record the outcomes of the first `number` recipients of `entry` (all of them without it); the message must be in memory.

        The other recipients go on as a delivery of their own, untried. `succeeded` is whose success the sender is told with this entry
        where other deliveries of the message were in the same transaction; without it, this entry's own.
        """
        now = self._wall()
        delivery = entry.delivery
        if (
            len(outcomes) == 1 == len(delivery.recipients)
            and outcomes[0].kind is OutcomeKind.DELIVERED
            and self._consultation is None
            and not succeeded
            and (succeeded is not None or not tells_success(delivery.recipients[0], outcomes[0]))
        ):
            # nearly every message, at half the cost of the general way
            self._begin(entry)
            event = delivered(delivery, site, outcomes[0], now)
            self._settle(entry, Completion(delivery.id, delivery.message, (), (), (event,)), True)
            return
        sent = delivery.recipients[:number]
        expires = self._leaps.expiry(delivery.received, delivery.expires)
        due = self._due(delivery, now, expires)
        self._begin(entry)
        if self._consultation is not None and entry.held is not None:
            self._consultation.run(
                self._consulted(self._consultation, entry, entry.held, site, sent, outcomes, now, due, expires)
            )
            return
        dues = (due,) * len(sent)
        conclusion = conclude(delivery, site, sent, outcomes, now=now, dues=dues, expires=expires)
        if succeeded is not None:
            conclusion.succeeded = succeeded
        self._conclude(entry, site, conclusion, conclusion.failed, len(sent), now)

    def record_all(
        self, entries: Sequence[Entry], site: str, outcomes: Sequence[Outcome], counts: Sequence[int]
    ) -> None:
        """Record one transaction that carried deliveries of one message: the first `counts` recipients of each, in their order.

        One notice tells of all that succeeded, as a sender with NOTIFY=SUCCESS would have it. It is born with the first delivery: a crash
        between the commits of two tells something twice, not never. With plugins that hear of outcomes each delivery has its own notice,
        since the first may wait for them long after the others are recorded.
        """
        sent = [who for entry, count in zip(entries, counts, strict=True) for who in entry.delivery.recipients[:count]]
        pairs = zip(sent, outcomes, strict=True)
        told = [pair for pair in pairs if pair[1].kind is OutcomeKind.DELIVERED and tells_success(*pair)]
        succeeded = tuple(told) if self._consultation is None else None
        start = 0
        for entry, count in zip(entries, counts, strict=True):
            self.record(entry, site, outcomes[start : start + count], count, succeeded)
            start += count
            succeeded = None if succeeded is None else ()

    def postpone(self, entry: Entry, site: str, outcome: Outcome, delay: float) -> None:
        """Try `entry` again after `delay` seconds, no attempt counted; what expires before that has failed.

        The message must be in memory.
        """
        now = self._wall()
        delivery = entry.delivery
        due = now + max(SHORTEST, delay)
        if due > self._leaps.expiry(delivery.received, delivery.expires):
            self.record(entry, site, (expired(outcome),) * len(delivery.recipients))
            return
        self._begin(entry)
        conclusion = postponed(delivery, site, outcome, now=now, due=due)
        self._conclude(entry, site, conclusion, (), len(delivery.recipients), now)

    def ask_no_more(self) -> None:
        """Record from now on without asking plugins: the worker ends, and nobody would wait for their answers."""
        self._consultation = None

    def move(self, entry: Entry, queue: str) -> None:
        """Hand `entry` to another queue, untried: its owner will claim it."""
        delivery = entry.delivery
        left = _untried(delivery, queue, delivery.recipients, self._wall(), False)
        self._begin(entry)
        self._settle(entry, Completion(delivery.id, delivery.message, (left,)), False)

    def reroute(self, entry: Entry, queue: str, route: Route, mark: Outcome) -> None:
        """Hand `entry` to the `queue` of another `route`, untried, with `mark` as its last outcome.

        It goes on straight from memory where that queue is ours.
        """
        delivery = entry.delivery
        state = DeliveryState.ROUTING if queue.startswith(ROUTING) else DeliveryState.READY
        left = NewDelivery(
            queue,
            route,
            delivery.recipients,
            self._wall(),
            delivery.expires,
            state,
            delivery.attempts,
            mark,
            self.wants(queue),
        )
        self._begin(entry)
        self._settle(entry, Completion(delivery.id, delivery.message, (left,)), False)

    def must_load(self, entry: Entry, outcomes: Sequence[Outcome]) -> bool:
        """Whether recording this may need the message itself, for a report that quotes it, and it is not in memory."""
        if entry.held is not None:
            return False
        consulted = self._consultation is not None and self._consultation.needs_message(outcomes)
        if consulted or self._reporter is None:
            return consulted
        delivery = entry.delivery
        now = self._wall()
        # time passes until it is recorded: what is nearly over is read
        if delivery.expires <= now + 2 * SHORTEST or any(outcome.kind == "failed" for outcome in outcomes):
            return True
        return self._delays is not None and self._delays.concerns(
            delivery, now, self._due(delivery, now, delivery.expires)
        )

    def _due(self, delivery: Delivery, now: float, expires: float) -> float:
        """Return when to try again: by the schedule, but not beyond a time that the sender has set (RFC 2852), nor its expiry."""
        if self._delays is None:
            return _last_try(expires, now, self._retry.due(now, delivery.attempts + 1, delivery.received))
        due = self._retry.due(now, delivery.attempts + 1, self._delays.since(delivery))
        return _last_try(expires, now, self._delays.capped(delivery, now, due))

    def _consulted(
        self,
        consultation: Consultation,
        entry: Entry,
        held: Held,
        site: str,
        sent: tuple[Recipient, ...],
        outcomes: Sequence[Outcome],
        now: float,
        due: float,
        expires: float,
    ) -> Steps:
        """`record` with the opinions of plugins; `held` cannot go before the entry does."""
        delivery = entry.delivery
        dues = yield from consultation.heard(held.message, sent, outcomes, now, due, expires)
        conclusion = conclude(delivery, site, sent, outcomes, now=now, dues=dues, expires=expires)
        told = yield from consultation.silenced(held.message, conclusion.failed)
        self._conclude(entry, site, conclusion, told, len(sent), now)

    def _conclude(
        self,
        entry: Entry,
        site: str,
        conclusion: Conclusion,
        told: tuple[tuple[Recipient, Outcome], ...],
        number: int,
        now: float,
    ) -> None:
        """Write down what follows from an attempt of the first `number` recipients; the sender hears of those in `told`."""
        delivery = entry.delivery
        remaining = conclusion.remaining
        late: tuple[tuple[Recipient, Outcome], ...] = ()
        if remaining and self._delays is not None and entry.held is not None:
            remaining, late = self._delays.told(entry.held.message, delivery, remaining, now)
        if number < len(delivery.recipients):
            remaining += (_untried(delivery, site, delivery.recipients[number:], now, self.wants(site)),)
        spawn: tuple[NewMessage, ...] = ()
        events = conclusion.events
        if conclusion.failed or conclusion.succeeded or late:
            spawn, events = self._reports(entry, conclusion, told, late, now)
        completion = Completion(delivery.id, delivery.message, remaining, spawn, events)
        self._settle(entry, completion, not (remaining or spawn or conclusion.failed))

    def _reports(
        self,
        entry: Entry,
        conclusion: Conclusion,
        told: tuple[tuple[Recipient, Outcome], ...],
        late: tuple[tuple[Recipient, Outcome], ...],
        now: float,
    ) -> tuple[tuple[NewMessage, ...], tuple[SpoolEvent, ...]]:
        """Return the notices that are born with this outcome, and all its events."""
        message = entry.delivery.message
        events = conclusion.events
        if silenced := len(conclusion.failed) - len(told):
            # a plugin's right, but never in silence
            events = (*events, SpoolEvent(now, "message.unreported", message, {"recipients": silenced}))
        if self._reporter is None or entry.held is None:
            return (), events
        stored, ids = entry.held.message, self._ids
        reports: list[NewMessage] = []
        if told and (report := self._reporter.failed(stored, told, ids.next(), now)):
            reports.append(self._claimed(report))
            events = (*events, SpoolEvent(now, "message.bounced", message, _fields(report, told)))
        until = self._leaps.expiry(entry.delivery.received, entry.delivery.expires) if late else 0.0
        if late and (report := self._reporter.delayed(stored, late, ids.next(), now, until)):
            reports.append(self._claimed(report))
            events = (*events, SpoolEvent(now, "message.delayed", message, _fields(report, late)))
        done = conclusion.succeeded
        if done and (report := self._reporter.succeeded(stored, done, ids.next(), now)):
            reports.append(self._claimed(report))
            events = (*events, SpoolEvent(now, "message.confirmed", message, _fields(report, done)))
        return tuple(reports), events

    def _claimed(self, report: NewMessage) -> NewMessage:
        """Return `report` with its deliveries born in memory where their queues are ours."""
        deliveries = tuple(_claimed(each, self.wants(each.queue)) for each in report.deliveries)
        return _with(report, deliveries)

    def _begin(self, entry: Entry) -> None:
        """Count `entry` as being recorded: until `_end`, neither it nor its path can go."""
        entry.started = True
        if entry.path is not None:
            entry.path.completing += 1

    def _end(self, entry: Entry) -> None:
        if entry.path is not None:
            entry.path.completing -= 1
        self._memory.forget(entry)
        self.settled(entry)

    def _settle(self, entry: Entry, completion: Completion, delivered: bool) -> None:
        self.ended(completion.message, delivered)
        self._offer(entry, completion, 1)

    def _offer(self, entry: Entry, completion: Completion, tries: int) -> None:
        self._store.complete(completion, partial(self._done, entry, completion, tries))

    def _done(
        self,
        entry: Entry,
        completion: Completion,
        tries: int,
        error: SpoolError | None,
        applied: bool,
        born: Sequence[Delivery],
    ) -> None:
        if error is not None:
            self._emit("delivery.unrecorded", _unrecorded(completion, tries, error))
            if tries < TRIES:
                self._loop.call_later(
                    min(_AGAIN * 2 ** (tries - 1), _AGAIN_AT_MOST), self._offer, entry, completion, tries + 1
                )
            else:
                self._store.complete(_NOTHING, partial(self._judge, entry, completion, tries, error))
            return
        if applied:
            for event in completion.events:
                self._emit(event.kind, {"message": event.message.hex(), **event.fields})
        else:
            # taken over while we had it: its new owner's record stands
            self._emit("delivery.stale", {"message": completion.message.hex()})
        if applied and (completion.remaining or completion.spawn):
            self._follow(entry, completion, born)
        self._end(entry)

    def _judge(
        self,
        entry: Entry,
        completion: Completion,
        tries: int,
        refused: SpoolError,
        error: SpoolError | None,
        _applied: bool,
        _born: Sequence[Delivery],
    ) -> None:
        """Give up `completion` if the store is well (no `error`) and refused this one; else go on offering it."""
        if error is not None:
            self._loop.call_later(_AGAIN_AT_MOST, self._offer, entry, completion, tries + 1)
            return
        fields = _unrecorded(completion, tries, refused)
        self._emit("delivery.unrecorded", {**fields, "final": True, "delivery": completion.delivery, "events": [
            f"{event.kind} {event.fields['to']}" for event in completion.events if "to" in event.fields
        ]})  # fmt: skip
        self._end(entry)

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


def _last_try(expires: float, now: float, due: float) -> float:
    """Return `due`, or the expiry where that comes before: a last try when the time is over, not a return before it.

    There is one such try: who is at the expiry, or as near as makes no difference, goes beyond it and fails.
    """
    return expires if due > expires > now + SHORTEST else due


def _unrecorded(completion: Completion, tries: int, error: SpoolError) -> dict[str, object]:
    # the reason is our own disk's or database's: an operator must be able to tell a full disk from a row that no table takes
    return {
        "message": completion.message.hex(),
        "error": type(error).__name__,
        "text": str(error)[:200],
        "tries": tries,
    }


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


def _fields(report: NewMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> dict[str, str | int | float]:
    return {"report": report.id.hex(), "recipients": len(told)}


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


def _unheard(_message: MessageId, _delivered: bool) -> None:
    return None
