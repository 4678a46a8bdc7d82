"""XCLIENT and XFORWARD: what somebody in front of us says of the clients behind it (Postfix's XCLIENT_README and XFORWARD_README).

By XCLIENT the session becomes another client's: nothing of the old one is left but the connection, its TLS, and its count of commands and
errors. `connect` hooks run again, limits count the other one. By XFORWARD nothing changes but what is written down about the next message.
Each is believed from the networks that the listener lists for it, by the address that the connection came with: a client that XCLIENT
made up has no such rights by itself, and one that is listed keeps them.
"""

from __future__ import annotations

import enum
from functools import partial

from upesi.config.networks import Networks
from upesi.hooks.session import Client, Session
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import XclientCommand, XforwardCommand
from upesi.protocol.smtp.forwarding import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, Attributes
from upesi.session import replies
from upesi.session.answers import Answer
from upesi.session.auth import forget_identity
from upesi.session.engine import SessionEngine
from upesi.session.greeting import greet_again

__all__ = ["Trust", "Trusted", "trusted_keywords", "xclient", "xforward"]

_NOT_TRUSTED = Reply.make(550, "5.7.0", "Insufficient authorization")
_XFORWARD_OK = Reply.make(250, "2.0.0", "Ok")


class Trust(enum.Enum):
    """What a connection may say of others."""

    NOTHING = ""
    XCLIENT = "XCLIENT " + " ".join(XCLIENT_ATTRIBUTES)
    XFORWARD = "XFORWARD " + " ".join(XFORWARD_ATTRIBUTES)


class Trusted:
    """Whom a listener believes."""

    __slots__ = ("_xclient", "_xforward")

    def __init__(self, xclient: Networks, xforward: Networks) -> None:
        self._xclient = xclient
        self._xforward = xforward

    def of(self, address: str) -> Trust:
        """Return what a connection from there may say; never both (the configuration is checked for that)."""
        if address in self._xclient:
            return Trust.XCLIENT
        return Trust.XFORWARD if address in self._xforward else Trust.NOTHING


def trusted_keywords(engine: SessionEngine) -> tuple[str, ...]:
    """Return the EHLO line for those who are believed."""
    keyword = _trust(engine).value
    return (keyword,) if keyword else ()


def _trust(engine: SessionEngine) -> Trust:
    """Return what this connection may say: found out once, while the client is still whom it came as."""
    if engine.trust is None:
        trusted = engine.context.trusted
        engine.trust = Trust.NOTHING if trusted is None else trusted.of(engine.session.client.address)
    return engine.trust


def xclient(engine: SessionEngine, command: XclientCommand) -> Answer:
    """Begin a session of another client, from its `connect` hooks on."""
    if _trust(engine) is not Trust.XCLIENT:
        return _NOT_TRUSTED
    if engine.idled(replies.NOOP_OK) is replies.TOO_MANY_IDLE:
        return replies.TOO_MANY_IDLE
    engine.conclude("XCLIENT")
    _renew(engine, command.attributes)
    owner = engine.owner
    refusal = None if owner is None else owner.moved(engine.session.client.address)
    return refusal or greet_again(engine)


def _renew(engine: SessionEngine, said: Attributes) -> None:
    """Put a new session in the place of the old one. What is not said stays as it was, but for what the client itself had to say."""
    context, old = engine.context, engine.session
    new = Session(context.ids.next().hex(), _client(engine, said), context.listener, context.role)
    new.via = old.via or old.client.address
    new.tls, new.errors = old.tls, old.errors
    new.helo = said.get("HELO") or ""
    new.protocol = said.get("PROTO") or new.protocol
    forget_identity(engine, behind=True)
    new.identity = said.get("LOGIN")
    engine.session = new
    engine.started = context.now()
    engine.origin = engine.forwarded = None
    engine.improper = 0


def _client(engine: SessionEngine, said: Attributes) -> Client:
    old = engine.session.client
    # "[UNAVAILABLE]" is an address that nobody knows: no rights by network
    address = (said["ADDR"] or "") if "ADDR" in said else old.address
    port = int(said["PORT"] or 0) if "PORT" in said else old.port
    if "NAME" in said:
        return Client(address, port, partial(_named, said["NAME"]))
    return Client(address, port, engine.context.resolve)


async def _named(name: str | None, _: str) -> str | None:
    return name


def xforward(engine: SessionEngine, command: XforwardCommand) -> Answer:
    """Remember what is said of the next message, until its transaction ends."""
    if _trust(engine) is not Trust.XFORWARD:
        return _NOT_TRUSTED
    engine.forwarded = {**(engine.forwarded or {}), **command.attributes}
    return engine.idled(_XFORWARD_OK)
