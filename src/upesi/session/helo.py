"""EHLO, HELO and LHLO (RFC 5321 section 4.1.1.1, RFC 2033 section 4.1): names, and the list of extensions."""

from __future__ import annotations

from typing import Final

from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import HeloCommand
from upesi.session import replies
from upesi.session.answers import Answer
from upesi.session.auth import auth_keywords
from upesi.session.engine import SessionEngine
from upesi.session.forwarding import trusted_keywords
from upesi.session.requests import changing_keywords

__all__ = ["helo"]

_PROTOCOLS: Final = {"HELO": "SMTP", "EHLO": "ESMTP", "LHLO": "LMTP"}


def helo(engine: SessionEngine, command: HeloCommand) -> Answer:
    """Greet the client: a transaction that was open is gone (RFC 5321 section 4.1.4)."""
    if engine.idled(replies.NOOP_OK) is replies.TOO_MANY_IDLE:
        return replies.TOO_MANY_IDLE
    refusal = engine.out_of_turn(command.verb)
    if refusal is not None:
        return refusal
    engine.end_transaction("transaction.refused", reason=command.verb)
    return engine.ask(engine.context.hooks.helo, _named, command, command.name)


def _named(engine: SessionEngine, command: HeloCommand, opinion: Verdict | None) -> Answer:
    reply = engine.refusal(opinion)
    if reply is not None:
        return reply
    session = engine.session
    session.helo = command.name
    session.protocol = _PROTOCOLS[command.verb]
    engine.origin = None
    if command.verb == "HELO":
        return engine.paced(engine.context.helo_reply)
    hooks = engine.context.hooks.capabilities
    context = engine.context
    # an MX that has AUTH under TLS answers in clear as one without it: to make a reply costs 20 us
    mechanisms = () if context.auth is None else auth_keywords(engine)
    if not (hooks.hooks or mechanisms or context.trusted is not None or context.limits.future_release):
        return engine.paced(engine.context.ehlo_reply if session.tls is None else engine.context.secure_ehlo_reply)
    keywords = [*(engine.context.keywords if session.tls is None else engine.context.secure_keywords), *mechanisms]
    keywords += changing_keywords(engine.context.limits, engine.context.now())
    if context.trusted is not None:
        keywords += trusted_keywords(engine)
    return engine.ask(hooks, _announce, keywords, keywords)


def _announce(engine: SessionEngine, keywords: list[str], opinion: Verdict | None) -> Answer:
    return engine.refusal(opinion) or engine.paced(Reply.make(250, "", engine.context.hostname, *keywords))
