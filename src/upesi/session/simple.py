"""The verbs that need no module of their own: RSET, NOOP, QUIT, VRFY, EXPN, HELP (RFC 5321 section 4.1.1), and unknown ones."""

from __future__ import annotations

from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import (
    ExpnCommand,
    HelpCommand,
    NoopCommand,
    QuitCommand,
    RsetCommand,
    UnknownCommand,
    VrfyCommand,
)
from upesi.protocol.smtp.refusals import unknown_verb
from upesi.session import replies
from upesi.session.answers import Answer
from upesi.session.engine import SessionEngine
from upesi.session.help import help_reply

__all__ = ["expn", "help_", "noop", "not_offered", "quit_", "rset", "unknown", "vrfy"]


def rset(engine: SessionEngine, _: RsetCommand) -> Answer:
    """Forget the transaction."""
    engine.end_transaction("transaction.refused", reason="RSET")
    return engine.idled(replies.RSET_OK)


def noop(engine: SessionEngine, _: NoopCommand) -> Answer:
    """Do nothing."""
    return engine.idled(replies.NOOP_OK)


def quit_(engine: SessionEngine, _: QuitCommand) -> Answer:
    """Say goodbye."""
    engine.over = True
    return replies.BYE


def vrfy(engine: SessionEngine, _: VrfyCommand) -> Answer:
    """Neither confirm nor deny (RFC 5321 section 7.3)."""
    return engine.idled(replies.NOT_VERIFIED if engine.context.settings.vrfy else replies.NOT_IMPLEMENTED)


def expn(engine: SessionEngine, _: ExpnCommand) -> Answer:
    """Show no list to strangers."""
    return engine.idled(replies.NOT_IMPLEMENTED)


def help_(engine: SessionEngine, command: HelpCommand) -> Answer:
    """Name the verbs, or say how one is spelled."""
    return engine.idled(help_reply(engine.context.help, command.argument))


def not_offered(_: SessionEngine, __: object) -> Answer:
    """Answer a verb of an extension that this listener does not announce."""
    return replies.NOT_IMPLEMENTED


def unknown(engine: SessionEngine, command: UnknownCommand) -> Answer:
    """Let a plugin answer a verb of its own."""
    return engine.ask(engine.context.hooks.command, _known, command, command.verb, command.argument)


def _known(engine: SessionEngine, command: UnknownCommand, opinion: Reply | Verdict | None) -> Answer:
    if isinstance(opinion, Reply):
        return engine.idled(opinion)
    return engine.refusal(opinion) or unknown_verb(command.verb)
