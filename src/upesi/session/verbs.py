"""The table of verbs: which function answers which event of the protocol, and the one way into them."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, Final

from upesi.protocol.smtp import events
from upesi.protocol.smtp.events import DataChunk
from upesi.session import auth, data, etrn, forwarding, helo, mail, rcpt, replies, simple, starttls
from upesi.session.answers import Answer
from upesi.session.engine import SessionEngine

__all__ = ["HANDLERS", "handle"]

_Handler = Callable[[SessionEngine, Any], Answer]

HANDLERS: Final[MappingProxyType[type, _Handler]] = MappingProxyType(
    {
        events.HeloCommand: helo.helo,
        events.MailCommand: mail.mail,
        events.RcptCommand: rcpt.rcpt,
        events.DataCommand: data.data,
        events.BdatCommand: data.bdat,
        events.DataChunk: data.chunk,
        events.DataEnd: data.data_end,
        events.ChunkEnd: data.chunk_end,
        events.RsetCommand: simple.rset,
        events.NoopCommand: simple.noop,
        events.QuitCommand: simple.quit_,
        events.VrfyCommand: simple.vrfy,
        events.ExpnCommand: simple.expn,
        events.HelpCommand: simple.help_,
        events.UnknownCommand: simple.unknown,
        events.StartTlsCommand: starttls.starttls,
        events.AuthCommand: auth.auth,
        events.AuthResponse: auth.response,
        events.EtrnCommand: etrn.etrn,
        events.XclientCommand: forwarding.xclient,
        events.XforwardCommand: forwarding.xforward,
    }
)


def handle(engine: SessionEngine, event: events.Event) -> Answer:
    """Answer one event. An exception ends this session and no other."""
    kind = type(event)
    if kind is not DataChunk:
        engine.commands += 1
        # CMD-25: whatever the commands were, a session ends some time
        if engine.commands > engine.context.settings.max_commands:
            return replies.TOO_MANY_COMMANDS
    try:
        return HANDLERS[kind](engine, event)
    # what a plugin left in the session may do anything when it is looked at; SystemExit here would be the end of the worker
    except BaseException as error:
        return engine.failed(error)
