"""RCPT (RFC 5321 section 4.1.1.3): each recipient needs somebody's yes, and gets its route at once."""

from __future__ import annotations

from typing import Final

from upesi.hooks.session import TransactionRecipient
from upesi.hooks.verdict import Verdict
from upesi.mail.address import Address
from upesi.mail.envelope import Notify
from upesi.mail.reply import Reply
from upesi.mail.route import MaildirRoute, QuarantineRoute, Route
from upesi.protocol.smtp.events import RcptCommand
from upesi.session import replies
from upesi.session.answers import Answer
from upesi.session.clients import Clients
from upesi.session.engine import SessionEngine

__all__ = ["rcpt"]

# recipients of one transaction that are searched one by one: nearly every transaction has fewer, and needs no index
_FEW: Final = 16


def rcpt(engine: SessionEngine, command: RcptCommand) -> Answer:
    """Take one recipient."""
    tx = engine.session.transaction
    if tx is None or engine.improper:
        return replies.BAD_SEQUENCE
    if len(tx.recipients) >= engine.context.settings.max_recipients:
        return engine.refuse_recipient(command.forward_path, replies.TOO_MANY_RECIPIENTS)
    clients = engine.context.clients
    if engine.network and clients is not None:
        refusal = clients.rcpt(engine.network, engine.context.listener)
        if refusal is None and command.notify:
            refusal = _unasked(engine, clients, command.notify)
        if refusal is not None:
            return engine.refuse_recipient(command.forward_path, refusal)
    identity, users = engine.session.identity, engine.context.users
    if identity is not None and users is not None:
        refusal = users.rcpt(identity, engine.context.listener)
        if refusal is not None:
            return engine.refuse_recipient(command.forward_path, refusal)
    recipient = TransactionRecipient(command.forward_path, command.original, command.notify)
    return engine.ask(engine.context.hooks.rcpt, _judged, recipient, recipient)


def _unasked(engine: SessionEngine, clients: Clients, notify: int) -> Reply | None:
    """Return the refusal of a stranger who has asked for too many notices: they go to MAIL FROM, which may be anybody's address.

    Each delivery tells of itself, so one message of 20 kB made 500 notices of 1.3 kB (DSN-01).
    """
    if not notify & Notify.SUCCESS or engine.session.relaying or engine.session.identity is not None:
        return None
    return clients.notice(engine.network, engine.context.listener)


def _judged(engine: SessionEngine, recipient: TransactionRecipient, opinion: Verdict | None) -> Answer:
    reply = None if opinion is None else engine.refusal(opinion)
    if reply is not None:
        return engine.refuse_recipient(recipient.address, reply)
    address = recipient.address
    if not address.domain:
        # RFC 5321 section 4.5.1: the bare postmaster is always taken; it is ours, so it gets our domain
        recipient.address = Address(address.local, engine.context.hostname)
    elif opinion is None and not engine.session.relaying and engine.session.identity is None:
        return engine.refuse_recipient(address, replies.NOT_RELAYED)
    return engine.ask(engine.context.hooks.route, _routed, recipient, recipient)


def _routed(
    engine: SessionEngine, recipient: TransactionRecipient, opinion: Route | QuarantineRoute | Verdict | None
) -> Answer:
    tx = engine.session.transaction
    if tx is None:
        return replies.BAD_SEQUENCE
    if isinstance(opinion, Verdict):
        reply = engine.refusal(opinion)
        if reply is not None:
            return engine.refuse_recipient(recipient.address, reply)
    elif opinion is not None:
        recipient.routed(opinion)
    if recipient.route is None:
        recipient.routed(engine.context.intake.default_route(recipient.address))
    _keep(engine, tx.recipients, recipient)
    return replies.RCPT_OK


def _keep(engine: SessionEngine, recipients: list[TransactionRecipient], new: TransactionRecipient) -> None:
    """Add `new` unless its mailbox is there already: a recipient named twice gets one copy."""
    # Anna and anna are one name to our own mailboxes, and perhaps two to somebody else's (RFC 5321 section 2.4)
    mailbox = new.route if type(new.route) is MaildirRoute else None
    known = _known(engine, recipients, new.address, mailbox)
    if known is None:
        recipients.append(new)
        if engine.named is not None:
            _index(engine.named, new)
    if engine.rcpt_commands is not None:
        engine.rcpt_commands.append(known or new)


def _known(
    engine: SessionEngine, recipients: list[TransactionRecipient], address: Address, mailbox: MaildirRoute | None
) -> TransactionRecipient | None:
    """Return the recipient that has this address or mailbox.

    A short list is searched, a long one has an index: no RCPT costs more than another.
    """
    if len(recipients) < _FEW:
        for known in recipients:
            if known.address == address or (mailbox is not None and known.route == mailbox):
                return known
        return None
    if engine.named is None:
        engine.named = {}
        for known in recipients:
            _index(engine.named, known)
    found = engine.named.get(address)
    return found if found is not None or mailbox is None else engine.named.get(mailbox)


def _index(named: dict[Address | MaildirRoute, TransactionRecipient], recipient: TransactionRecipient) -> None:
    named[recipient.address] = recipient
    if type(recipient.route) is MaildirRoute:
        named[recipient.route] = recipient
