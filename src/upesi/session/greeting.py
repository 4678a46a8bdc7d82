"""The banner: `connect` hooks, then 220, 554 or 421 (RFC 5321 section 3.1)."""

from __future__ import annotations

from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.session.answers import Answer
from upesi.session.engine import SessionEngine

__all__ = ["early_talk", "greet", "greet_again"]


def greet(engine: SessionEngine) -> Answer:
    """Return the greeting."""
    session = engine.session
    if session.has_results and "early_talk" in session.results:
        refusal = engine.react(engine.context.settings.early_talk)
        if refusal is not None:
            # RFC 2034 section 4: no enhanced status in a greeting
            return Reply.make(554, "", *refusal.lines)
    return engine.ask(engine.context.hooks.connect, _greeting, None)


def _greeting(engine: SessionEngine, _: None, opinion: Verdict | None) -> Answer:
    reply = engine.refusal(opinion)
    if reply is None:
        return engine.context.greeting
    if reply.temporary:
        # RFC 5321 section 3.1 knows 220 and 554 only; 421 may be said at any time (section 3.8)
        return Reply.make(421, reply.status, *reply.lines)
    # RFC 2034 section 4: no enhanced status in a greeting
    return Reply.make(554, "", *reply.lines)


def greet_again(engine: SessionEngine) -> Answer:
    """Return the greeting for the client that XCLIENT named; one that is refused has no session to go on with."""
    return engine.ask(engine.context.hooks.connect, _greeting_again, None)


def _greeting_again(engine: SessionEngine, _: None, opinion: Verdict | None) -> Answer:
    reply = _greeting(engine, None, opinion)
    engine.over = reply is not engine.context.greeting
    return reply


def early_talk(engine: SessionEngine, size: int) -> None:
    """Take note of a client that talks before the banner (CMD-21): checks and scores read the result."""
    engine.session.results.setdefault("early_talk", ("fail", f"{size} octets before the greeting"))
