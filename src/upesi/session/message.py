"""The end of a message: `message` hooks, and what their verdicts mean for each recipient (PLUGINS.md, "Verdicts").

SMTP gives one reply for all recipients, LMTP one for each (RFC 2033 section 4.2).
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Final

from upesi.config.settings import Role
from upesi.hooks.appeals import appeals
from upesi.hooks.begun import Begun
from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType
from upesi.mail.reply import Reply
from upesi.session import replies
from upesi.session.acceptance import Acceptance, Refused
from upesi.session.answers import Answer, Waiting
from upesi.session.content import header_fault
from upesi.session.engine import SessionEngine, spool_reply
from upesi.session.senders import author_refusal
from upesi.session.submission import complete_header
from upesi.spool.store import SpoolError

__all__ = ["complete", "drop", "one_reply", "refuse"]


_BINARY: Final = BodyType.BINARY


def drop(engine: SessionEngine, reply: Reply, size: int) -> Reply:
    """End the transaction with `reply`."""
    engine.last_refusal = reply
    engine.end_transaction("transaction.refused", reason="message", size=size)
    return reply


def refuse(engine: SessionEngine, reply: Reply, size: int) -> Answer:
    """End the transaction with `reply`, over LMTP once for each recipient."""
    named = engine.rcpt_commands
    drop(engine, reply, size)
    return reply if named is None else (reply,) * len(named)


def complete(engine: SessionEngine, size: int) -> Answer:
    """Judge a message that is wholly here."""
    tx, writer = engine.session.transaction, engine.writer
    if tx is None or writer is None:
        return refuse(engine, replies.BAD_SEQUENCE, size)
    try:
        body = tx.body = writer.finish()
    except SpoolError as error:
        return refuse(engine, spool_reply(error), size)
    if type(body) is MemoryBody and tx.transmission.body is not _BINARY:
        # the protocol has refused everything else (`protocol.smtp.data`)
        body.text = True
    context = engine.context
    fault = header_fault(tx.body, context.settings)
    if fault is None and engine.session.identity is not None:
        fault = author_refusal(engine, tx.headers)
    if fault is None and context.role is Role.SUBMISSION:
        fault = complete_header(engine, tx)
    if fault is not None:
        return refuse(engine, fault, size)
    return engine.ask(context.hooks.message, _judged, tx)


def _judged(engine: SessionEngine, tx: Transaction, opinion: Verdict | None) -> Answer:
    reply = None if opinion is None else engine.refusal(opinion)
    if reply is not None:
        return refuse(engine, reply, _size(tx))
    denied = engine.context.hooks.denied
    if denied.hooks and any(recipient.verdict is not None for recipient in tx.recipients):
        return _appealed(engine, tx, appeals(denied, engine.session, tx), None)
    return _settled(engine, tx)


def _appealed(engine: SessionEngine, tx: Transaction, steps: Generator[Begun, object, None], answer: object) -> Answer:
    """Let the hooks of `denied` hear of refused recipients, one after the other."""
    try:
        waiting = steps.send(answer)
    except StopIteration:
        return _settled(engine, tx)
    return Waiting(waiting, partial(_appealed, engine, tx, steps))


def _settled(engine: SessionEngine, tx: Transaction) -> Answer:
    refused = _refused(engine, tx.recipients)
    if not refused:
        return Acceptance(engine, tx).start()
    if engine.rcpt_commands is not None:
        return Acceptance(engine, tx, refused).start()
    # to send notices for strangers would be backscatter
    known = engine.session.relaying or engine.session.identity is not None
    reply = one_reply(refused, len(tx.recipients), known=known)
    if reply is not None:
        return refuse(engine, reply, _size(tx))
    return Acceptance(engine, tx, refused).start()


def _refused(engine: SessionEngine, recipients: list[TransactionRecipient]) -> Refused:
    """Return the recipients that a plugin refused for themselves, each with its reply."""
    return [
        (recipient, recipient.verdict.kind, engine.refusal(recipient.verdict) or replies.NOT_STORED)
        for recipient in recipients
        if recipient.verdict is not None and recipient.verdict.kind is not VerdictKind.ACCEPT
    ]


def one_reply(refused: Refused, recipients: int, *, known: bool) -> Reply | None:
    """Return the reply that refuses the whole message, or None where the accepted recipients get it and a DSN speaks for the rest.

    `recipients` is how many there are, `known` that the client is no stranger. A recipient that was deferred defers the message: a notice
    of failure would turn "later" into "never".
    """
    deferred = [reply for _, kind, reply in refused if kind is VerdictKind.DEFER]
    if len(refused) == recipients:
        return deferred[0] if deferred else refused[0][2]
    if deferred:
        return deferred[0]
    return None if known else replies.NOT_ACCEPTED_BY_ALL


def _size(tx: Transaction) -> int:
    return 0 if tx.body is None else tx.body.size
