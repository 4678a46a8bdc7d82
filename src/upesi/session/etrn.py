"""ETRN (RFC 1985): a site that was away asks for the mail that waits for it. What it sets off is `upesi queue retry`.

The mail goes where it would go anyway, so the worst that a stranger could cause is work; who may ask is listed all the same, and one
request is carried out at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from upesi.config.networks import Networks
from upesi.config.settings import EtrnSettings
from upesi.hooks.session import Session
from upesi.mail.errors import UpesiError
from upesi.mail.reply import Reply
from upesi.protocol.smtp.events import EtrnCommand
from upesi.session import replies
from upesi.session.answers import Answer, Waiting
from upesi.session.engine import SessionEngine

__all__ = ["QueueStart", "etrn"]

_STARTED = Reply.make(250, "2.0.0", "Queuing started")
_NOTHING = Reply.make(251, "2.0.0", "No messages waiting")
_NOT_NOW = Reply.make(458, "4.3.0", "Unable to queue messages now")
_NOT_ALLOWED = Reply.make(459, "4.7.1", "Not allowed for you")

# what to start and how many deliveries that was: a domain, ".domain" for it and all below, or a queue's own name
Start = Callable[[dict[str, str]], Awaitable[int]]


class QueueStart:
    """Who may ask for what, and the way to ask for it."""

    __slots__ = ("_domains", "_identities", "_networks", "_start", "busy")

    def __init__(self, settings: EtrnSettings, start: Start) -> None:
        self._networks = Networks(settings.networks)
        self._identities = frozenset(identity.lower() for identity in settings.identities)
        self._domains = tuple(domain.lower() for domain in settings.domains)
        self._start = start
        self.busy = False

    def allows(self, session: Session, command: EtrnCommand) -> bool:
        """Whether this client may start this queue."""
        known = session.client.address in self._networks
        if not known and (session.identity is None or session.identity.lower() not in self._identities):
            return False
        # a queue by its own name may be any site's
        return not self._domains or (command.option != "#" and self._listed(command))

    def _listed(self, command: EtrnCommand) -> bool:
        for domain in self._domains:
            if domain.startswith("."):
                if f".{command.name}".endswith(domain):
                    return True
            elif domain == command.name and command.option == "":
                return True
        return False

    async def start(self, command: EtrnCommand) -> int:
        """Start it; return how many deliveries that was. Raises UpesiError."""
        self.busy = True
        try:
            return await self._start(_selected(command))
        finally:
            self.busy = False


def _selected(command: EtrnCommand) -> dict[str, str]:
    if command.option == "#":
        return {"queue": command.name}
    return {"domain": f".{command.name}" if command.option else command.name}


def etrn(engine: SessionEngine, command: EtrnCommand) -> Answer:
    """Start the queue of a domain, for those who may."""
    queues = engine.context.etrn
    if queues is None:
        return replies.NOT_IMPLEMENTED
    if engine.idled(replies.NOOP_OK) is replies.TOO_MANY_IDLE:
        return replies.TOO_MANY_IDLE
    if not queues.allows(engine.session, command):
        return _NOT_ALLOWED
    if queues.busy:
        return _NOT_NOW
    return Waiting(_started(engine, queues, command), _answer)


async def _started(engine: SessionEngine, queues: QueueStart, command: EtrnCommand) -> Reply:
    try:
        count = await queues.start(command)
    except UpesiError as error:
        engine.context.emit("etrn.failed", {"session": engine.session.id, "domain": command.name, "text": str(error)})
        return _NOT_NOW
    engine.context.emit(
        "etrn.started",
        {
            "session": engine.session.id,
            "client": engine.session.client.address,
            "domain": command.option + command.name,
            "deliveries": count,
        },
    )
    return _STARTED if count else _NOTHING


def _answer(reply: object) -> Answer:
    assert isinstance(reply, Reply)
    return reply
