"""STARTTLS (RFC 3207), and what a session forgets once TLS has begun.

What the client sends behind STARTTLS in clear is never run (TLS-01, CVE-2011-0411): who sends any is told so and sent away. The handshake
itself is the listener's and `upesi.tls`'s.
"""

from __future__ import annotations

from upesi.mail.security import TlsInfo
from upesi.protocol.smtp.events import StartTlsCommand
from upesi.session import replies
from upesi.session.answers import SECURING, Answer
from upesi.session.auth import forget_identity
from upesi.session.engine import SessionEngine

__all__ = ["secured", "starttls"]


def starttls(engine: SessionEngine, _: StartTlsCommand) -> Answer:
    """Let the handshake begin."""
    acceptor = engine.context.tls
    if acceptor is None:
        return replies.NOT_IMPLEMENTED
    if engine.session.tls is not None:
        # RFC 3207 section 4.2: not offered under TLS
        return replies.ALREADY_SECURE
    if engine.note_pipelining("STARTTLS"):
        engine.parting = replies.IMPROPER_PIPELINING
        return replies.BAD_SEQUENCE
    if acceptor.context() is None or not acceptor.handshakes.begin(engine.session.client.address):
        return replies.TLS_NOT_NOW
    return SECURING


def secured(engine: SessionEngine, info: TlsInfo) -> None:
    """Forget what was said before TLS began, as it may have been somebody else who said it (RFC 3207 section 4.2).

    What the connection itself is known by stays: its address, what `connect` hooks found, errors and talk out of turn.
    """
    session = engine.session
    session.tls = info
    session.helo = ""
    session.protocol = "SMTP"
    if session.identity is not None:
        # whatever a hook granted to that name goes with it
        session.identity = None
        session.relaying = False
    forget_identity(engine)
    engine.origin = None
