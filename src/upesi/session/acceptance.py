"""Making a message ours: build the spool's record, hand it in, and say 250 only when the commit has come back.

RFC 5321 section 6.1: the 250 takes responsibility. From the moment the record is handed in, the message no longer depends
on its client: if that hangs up, the commit goes on and its outcome is logged (the client may then send again, RFC 1047).
"""

from __future__ import annotations

from typing import Final

import msgspec

from upesi.config.settings import Role
from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.hooks.verdict import VerdictKind
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.handling import NO_LABELS, Handling
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.reply import Reply, printable
from upesi.mail.route import DiscardRoute, QuarantineRoute, Route, relaxing_tls, requiring_tls
from upesi.mail.timing import HEAD_START, Timing
from upesi.session import replies
from upesi.session.answers import COMMITTING, Answer
from upesi.session.changes import stored_form
from upesi.session.engine import SessionEngine, spool_reply
from upesi.session.requests import wants_no_tls
from upesi.session.trace import hidden_origin, origin_clause, received
from upesi.spool.records import NewDelivery, NewMessage, SpoolEvent
from upesi.spool.store import SpoolError

__all__ = ["Acceptance", "Refused"]

# recipients refused after the data: REJECT or DEFER, and with which reply
Refused = list[tuple[TransactionRecipient, VerdictKind, Reply]]

# RFC 3461 section 5.2.7.3 (c)
_EXPANDED: Final = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "sent on to several recipients", action=Action.EXPANDED)
_ID_OCTETS: Final = 16
# characters of why a recipient is held, in its event and in listings
_MAX_REASON: Final = 200
# what a recipient gets that is no plain delivery: where, how handled, and why it is held (empty: it is not)
_Special = tuple[Route, Handling | None, str]


class Acceptance:
    """One message between its last hook and the answer to its end."""

    __slots__ = ("_answer", "_discarded", "_engine", "_error", "_held", "_open", "_refused", "_starting", "_tx")

    def __init__(self, engine: SessionEngine, tx: Transaction, refused: Refused | None = None) -> None:
        self._engine = engine
        self._tx = tx
        self._refused = refused
        self._discarded = 0
        # who is held for a reason of their own
        self._held: dict[str, list[Recipient]] = {}
        # commits that have not come back
        self._open = 0
        self._error: SpoolError | None = None
        self._starting = False
        self._answer: Answer = None

    def start(self) -> Answer:
        """Hand the message in; return the answer if it is known at once, else COMMITTING."""
        try:
            _check(self._tx)
        except Exception as spoiled:
            return self._spoiled(spoiled)
        try:
            records = self._records()
        except SpoolError as error:
            # the body could not be read, or written over where plugins changed it
            self._error = error
            return self._end()
        if not records:
            return self._end()
        engine = self._engine
        engine.storing = True
        self._open = len(records)
        self._starting = True
        accept = engine.context.intake.accept
        for record in records:
            accept(record, self._done)
        self._starting = False
        return COMMITTING if self._open else self._answer

    def _records(self) -> tuple[NewMessage, ...]:
        """Return what must be made durable: the message, and notices of recipients that were refused to a client of ours, or expanded."""
        engine = self._engine
        now = engine.context.now()
        deliveries = self._deliveries(now)
        refused = self._refused
        if not deliveries and not refused:
            return ()
        message = self._record(deliveries, now)
        records = [message] if deliveries else []
        if refused and engine.rcpt_commands is None:
            self._add_report(records, message, tuple((who.recipient(), _failed(reply)) for who, _, reply in refused))
        if deliveries and self._tx.expanded:
            self._add_report(records, message, tuple((alias, _EXPANDED) for alias in self._tx.expanded))
        return tuple(records)

    def _add_report(
        self, records: list[NewMessage], message: NewMessage, told: tuple[tuple[Recipient, Outcome], ...]
    ) -> None:
        report = self._engine.context.intake.report(message, told)
        if report is not None:
            records.append(report)

    def _deliveries(self, now: float) -> tuple[NewDelivery, ...]:
        """Return one delivery for each distinct route, and way to handle it, of those who get the mail."""
        lifetime = self._engine.context.intake.lifetime
        by_route, special = self._grouped()
        timing = self._tx.timing
        due, expires, held = now, now + lifetime, False
        if timing is not None:
            due, expires, held = timing.due(now), timing.expires(now, lifetime), timing.held(now)
        made = [self._delivery(route, who, due, expires, later=held) for route, who in by_route.items()]
        for (route, handling, reason), who in special.items():
            first, last = (due, expires) if handling is None else _times(timing, handling, now, lifetime)
            made.append(self._delivery(route, who, first, last, later=held, reason=reason))
            if reason:
                self._held.setdefault(reason, []).extend(who)
        return tuple(made)

    def _grouped(self) -> tuple[dict[Route, list[Recipient]], dict[_Special, list[Recipient]]]:
        """Sort those who get the mail by where it goes: nearly everybody, and those for whom a plugin wants something more."""
        intake = self._engine.context.intake
        relaxed = self._engine.context.settings.relax_tls and wants_no_tls(self._tx)
        refused = {id(who) for who, _, _ in self._refused} if self._refused else ()
        general = self._tx.handling
        by_route: dict[Route, list[Recipient]] = {}
        special: dict[_Special, list[Recipient]] = {}
        for recipient in self._tx.recipients:
            if refused and id(recipient) in refused:
                continue
            wanted, reason = recipient.route, ""
            if isinstance(wanted, QuarantineRoute):
                reason = printable(wanted.reason[:_MAX_REASON])
                wanted = wanted.route
            route = wanted or intake.default_route(recipient.address)
            if self._tx.transmission.requiretls:
                route = requiring_tls(route)
            elif relaxed:
                route = relaxing_tls(route)
            handling = general if recipient.handling is None else recipient.handling.over(general)
            if type(route) is DiscardRoute:
                self._discarded += 1
            elif handling is None and not reason:
                by_route.setdefault(route, []).append(recipient.recipient())
            else:
                special.setdefault((route, handling, reason), []).append(_labelled(recipient.recipient(), handling))
        return by_route, special

    def _delivery(
        self, route: Route, recipients: list[Recipient], due: float, expires: float, *, later: bool, reason: str = ""
    ) -> NewDelivery:
        place = self._engine.context.intake.place(route)
        timing = self._tx.timing
        if timing is not None and timing.notice is not None:
            recipients = _to_be_told(recipients, timing.notice)
        return NewDelivery(
            place.queue,
            route,
            tuple(recipients),
            due,
            expires,
            place.state,
            claim=place.claim and not later,
            held=bool(self._tx.hold or reason),
        )

    def _record(self, deliveries: tuple[NewDelivery, ...], now: float) -> NewMessage:
        engine, tx = self._engine, self._tx
        context, session = engine.context, engine.session
        if engine.origin is None:
            engine.origin = (
                hidden_origin(context.hostname) if context.hide_client else origin_clause(session, context.hostname)
            )
        prefix = received(engine.origin, tx, tx.id.hex(), context.dates.text(now))
        prefix, body = stored_form(tx, prefix)
        origin = {"client": session.client.address, "helo": session.helo, "listener": session.listener}
        if session.role != Role.MX:
            # whoever submits is known, and hears of delays (`scheduler.delays`)
            origin["role"] = session.role
        if engine.forwarded is not None:
            origin["forwarded"] = engine.forwarded.get("ADDR") or ""
        fields: dict[str, str | int | float] = {
            "recipients": len(tx.recipients),
            "size": body.size,
            "session": session.id,
        }
        if tx.handling is not None:
            fields.update(tx.handling.labels.given)
        return NewMessage(
            tx.id, now, tx.reverse_path, tx.transmission, prefix, body, deliveries, origin, tx.queued_notes,
            self._events(now, fields),
        )  # fmt: skip

    def _events(self, now: float, fields: dict[str, str | int | float]) -> tuple[SpoolEvent, ...]:
        tx = self._tx
        accepted = SpoolEvent(now, "message.accepted", tx.id, fields)
        if tx.hold:
            held: dict[str, str | int | float] = {"recipients": len(tx.recipients), "reason": tx.hold}
            return accepted, SpoolEvent(now, "delivery.held", tx.id, held)
        if not self._held:
            return (accepted,)
        return accepted, *(
            SpoolEvent(now, "delivery.held", tx.id, {
                "recipients": len(who), "to": " ".join(str(each.address) for each in who), "reason": reason,
            })
            for reason, who in self._held.items()
        )  # fmt: skip

    def _done(self, error: SpoolError | None) -> None:
        """Take note of one commit; behind the last one, answer."""
        self._open -= 1
        if error is not None:
            self._error = error
        if self._open:
            return
        engine = self._engine
        try:
            answer = self._end()
        except BaseException as problem:
            answer = engine.failed(problem)
        if self._starting:
            self._answer = answer
        elif engine.owner is not None:
            engine.owner.answered(answer)

    def _end(self) -> Answer:
        """Close the transaction and return its answer. A message of which one record failed is answered 4xx: twice is better than never."""
        engine, tx = self._engine, self._tx
        size = 0 if tx.body is None else tx.body.size
        if self._error is not None:
            reply = spool_reply(self._error)
            answer = self._each(reply)
            engine.last_refusal = reply
            engine.end_transaction("transaction.refused", reason="spool", size=size)
            return answer
        session = engine.session
        session.messages += 1
        # the limits are for sessions that bring no mail
        session.errors = engine.idle = 0
        answer = self._each(replies.queued_as(tx.id.hex()))
        if engine.storing:
            engine.tell(engine.context.hooks.queued, tx)
        engine.end_transaction("transaction.accepted", size=size, discarded=self._discarded)
        return answer

    def _spoiled(self, error: Exception) -> Answer:
        """Refuse for now what plugins left in a state that cannot be stored; it cannot be told which of them did it."""
        engine = self._engine
        hooks = engine.context.hooks
        chains = (hooks.rcpt, hooks.route, hooks.data, hooks.message)
        names = dict.fromkeys(hook.guard.name for chain in chains for hook in chain.hooks)
        reason = "left in the transaction what cannot be stored"
        engine.context.emit(
            "plugin.failed",
            {
                "plugin": ", ".join(names),
                "hook": "message",
                "reason": reason,
                "session": engine.session.id,
                "exception": error,
            },
        )
        reply = replies.NOT_STORED
        answer = self._each(reply)
        engine.last_refusal = reply
        engine.end_transaction("transaction.refused", reason="plugin")
        return answer

    def _each(self, reply: Reply) -> Answer:
        named = self._engine.rcpt_commands
        if named is None:
            return reply
        refused = {id(who): own for who, _, own in self._refused or ()}
        return tuple(refused.get(id(who), reply) for who in named)


def _check(tx: Transaction) -> None:
    """Make sure that what plugins left in the transaction can be stored and sent; raise TypeError or ValueError: 451 then."""
    tx.check()
    for recipient in tx.recipients:
        if recipient.handling is not None and type(recipient.handling) is not Handling:
            raise TypeError("a recipient's handling must be None or a Handling")
    if tx.handling is not None and type(tx.handling) is not Handling:
        raise TypeError("handling must be None or a Handling")
    if type(tx.hold) is not str:
        raise TypeError("hold must be the reason, a string")
    if type(tx.transmission) is not Transmission or len(tx.id) != _ID_OCTETS:
        raise TypeError("transmission and id are not a plugin's to change")
    for name, note in tx.queued_notes.items() if tx.has_queued_notes else ():
        if type(name) is not str or type(note) is not bytes:
            raise TypeError(f"queued note {name!r} must be bytes")


def _labelled(recipient: Recipient, handling: Handling | None) -> Recipient:
    labels = NO_LABELS if handling is None else handling.labels
    return recipient if labels is NO_LABELS else msgspec.structs.replace(recipient, labels=labels)


def _times(timing: Timing | None, handling: Handling, now: float, lifetime: float) -> tuple[float, float]:
    """Return when the first attempt is due and when the last may be; a deadline that the sender was granted stands."""
    timing = timing or Timing()
    if handling.priority is not None:
        timing = msgspec.structs.replace(timing, head_start=handling.priority * HEAD_START)
    if handling.lifetime is not None:
        # not beyond the configured: retries and notices of delay are reckoned from that (`scheduler.delays`)
        lifetime = min(lifetime, handling.lifetime)
    return timing.due(now), timing.expires(now, lifetime)


def _to_be_told(recipients: list[Recipient], at: float) -> list[Recipient]:
    return [msgspec.structs.replace(recipient, tell_delay=at) for recipient in recipients]


def _failed(reply: Reply) -> Outcome:
    return Outcome(OutcomeKind.FAILED, reply.code, reply.status or "5.0.0", reply.text)
