"""The listening half of a worker: from inherited sockets to sessions."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

from upesi.config.networks import Networks
from upesi.config.settings import ListenerSettings, ListenerTls, Role, SmtpSettings
from upesi.hooks.asking import Dns
from upesi.listener.listener import Listener
from upesi.protocol.smtp.limits import ServerLimits
from upesi.runtime.authentication import Authentication
from upesi.runtime.ground import Ground
from upesi.runtime.messages import InheritedListener
from upesi.runtime.pressure import Pressure, share_of
from upesi.runtime.security import Security
from upesi.runtime.sockets import listener_label
from upesi.sasl.authenticator import Authenticator
from upesi.session.context import SessionContext
from upesi.session.etrn import QueueStart
from upesi.session.forwarding import Trusted
from upesi.session.intake import Intake
from upesi.session.users import Users
from upesi.tls.acceptor import Acceptor

__all__ = ["Bound", "make_listeners", "take_sockets"]

# an inherited listener and our own socket of it
Bound = tuple[InheritedListener, socket.socket]


def take_sockets(inherited: Sequence[InheritedListener]) -> list[Bound]:
    """Return sockets of our own: closing them leaves the supervisor's."""
    return [(listener, socket.socket(fileno=os.dup(listener.fd))) for listener in inherited]


def make_listeners(
    ground: Ground,
    intake: Intake,
    sockets: Sequence[Bound],
    spawn: Callable[[Awaitable[object]], None],
    pressure: Pressure,
    security: Security,
    authentication: Authentication,
    etrn: QueueStart | None = None,
) -> list[tuple[str, Listener]]:
    """Return the listeners with their labels; they accept nobody before they are started."""
    listeners = []
    users = Users(ground.counters, ground.config.submission, ground.emit)
    for inherited, sock in sockets:
        settings = ground.config.listener[inherited.index]
        tls = security.acceptor(inherited.index)
        auth = authentication.of(settings)
        context = _context(
            ground, intake, spawn, pressure, settings, listener_label(settings, sock), tls, auth, users, etrn
        )
        context.senders = authentication.senders
        listener = Listener(
            sock,
            context,
            max_sessions=share_of(settings, inherited),
            backlog=settings.backlog,
            proxies=Networks(settings.proxy),
            admission=pressure.admission,
        )
        listeners.append((context.listener, listener))
    return listeners


def _context(
    ground: Ground,
    intake: Intake,
    spawn: Callable[[Awaitable[object]], None],
    pressure: Pressure,
    settings: ListenerSettings,
    label: str,
    tls: Acceptor | None,
    auth: Authenticator | None,
    users: Users,
    etrn: QueueStart | None,
) -> SessionContext:
    smtp = ground.config.smtp
    return SessionContext(
        hooks=ground.hooks,
        limits=_limits(smtp, settings, auth, etrn),
        settings=smtp,
        hostname=ground.config.node.name,
        ids=ground.ids,
        now=time.time,
        intake=intake,
        emit=ground.emit,
        spawn=spawn,
        listener=label,
        role=settings.role,
        resolve=partial(_hostname, ground),
        clients=pressure.clients,
        delays=pressure.delays,
        tls=tls,
        auth=auth,
        trusted=_trusted(settings),
        users=users,
        etrn=etrn,
        hide_client=settings.role is Role.SUBMISSION and ground.config.submission.hide_client,
    )


async def _hostname(ground: Ground, address: str) -> str | None:
    """Return the first name of `address` that leads back to it, as the plugins' own DNS says it: within the session's bound."""
    dns = cast("Dns", ground.services.by_name["dns"])
    return next(iter((await dns.confirmed(address)).names), None)


def _trusted(settings: ListenerSettings) -> Trusted | None:
    xclient, xforward = Networks(settings.xclient), Networks(settings.xforward)
    return Trusted(xclient, xforward) if xclient or xforward else None


def _limits(
    smtp: SmtpSettings, settings: ListenerSettings, auth: Authenticator | None, etrn: QueueStart | None
) -> ServerLimits:
    return ServerLimits(
        max_message_size=smtp.max_message_size,
        smtputf8=smtp.smtputf8,
        chunking=smtp.chunking,
        dsn=smtp.dsn,
        deliver_by=int(smtp.deliver_by),
        # RFC 4865 section 3: for submission, not for relays
        future_release=int(smtp.future_release) if settings.role is Role.SUBMISSION else 0,
        priorities=True,
        starttls=settings.tls in (ListenerTls.STARTTLS, ListenerTls.REQUIRED),
        requiretls=True,
        auth=() if auth is None else auth.mechanisms,
        etrn=etrn is not None,
        rcpt_max=smtp.max_recipients,
        mail_max=smtp.max_messages,
    )
