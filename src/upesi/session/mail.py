"""MAIL (RFC 5321 section 4.1.1.2, RFC 1870): a transaction begins."""

from __future__ import annotations

from typing import Final

from upesi.config.settings import Role
from upesi.hooks.session import Transaction
from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import MailCommand
from upesi.session import replies
from upesi.session.answers import Answer
from upesi.session.engine import SessionEngine
from upesi.session.requests import grant
from upesi.session.senders import sender_refusal, submitter

__all__ = ["mail"]

_SUBMISSION: Final = Role.SUBMISSION


def mail(engine: SessionEngine, command: MailCommand) -> Answer:
    """Begin a transaction, if there is room for a message of the declared size."""
    context = engine.context
    session = engine.session
    if session.transaction is not None or engine.improper:
        return replies.BAD_SEQUENCE
    if session.tls is None and context.tls is not None and context.tls.required:
        return replies.TLS_REQUIRED
    if session.identity is not None or context.role is _SUBMISSION:
        refusal = sender_refusal(engine, command.reverse_path)
        if refusal is not None:
            return refusal
    if command.size is not None and command.size > context.settings.max_message_size:
        return replies.MESSAGE_TOO_BIG
    if context.intake.full():
        return replies.MEMORY_FULL if context.intake.starved() else replies.SPOOL_FULL
    if engine.network or session.identity is not None or context.settings.max_messages:
        refusal = _over_limit(engine)
        if refusal is not None:
            return refusal
    transmission, timing = command.transmission, None
    if command.requests is not None:
        granted = grant(engine, transmission, command.requests)
        if isinstance(granted, Reply):
            return granted
        transmission, timing = granted.transmission, granted.timing
    tx = Transaction(session, context.ids.next(), command.reverse_path, transmission, command.size)
    tx.timing = timing
    if command.parameters:
        tx.submitter = submitter(engine, command.parameters)
    if engine.forwarded is not None:
        tx.notes["xforward"] = engine.forwarded
    engine.begin_transaction(tx)
    return engine.ask(context.hooks.mail, _begun, tx, command.reverse_path)


def _over_limit(engine: SessionEngine) -> Reply | None:
    """Count a transaction for the session, its client and its user; return the reply of the first limit that it is over."""
    context, session = engine.context, engine.session
    if 0 < context.settings.max_messages <= session.messages:
        return replies.TOO_MANY_MESSAGES_HERE
    refusal = None
    if engine.network and context.clients is not None:
        refusal = context.clients.mail(engine.network, context.listener)
    if refusal is None and session.identity is not None and context.users is not None:
        refusal = context.users.mail(session.identity, context.listener)
    return refusal


def _begun(engine: SessionEngine, tx: Transaction, opinion: Verdict | None) -> Answer:
    reply = None if opinion is None else engine.refusal(opinion)
    if reply is None:
        return replies.MAIL_OK if tx.timing is None or not tx.timing.lowered else replies.PRIORITY_CHANGED
    engine.last_refusal = reply
    engine.end_transaction("transaction.refused", reason="MAIL")
    return reply
