"""The place that a connection takes: among the listener's sessions, and among those of its own client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from upesi.listener.outbox import Outbox
from upesi.mail.reply import Reply
from upesi.session import replies
from upesi.session.context import SessionContext

if TYPE_CHECKING:
    from upesi.listener.connection import Connection

__all__ = ["Home", "Place"]


class Home(Protocol):
    """The listener, as far as its connections know it."""

    draining: bool
    # whether a session that has brought no message yet may bring one first
    patient: bool
    # where replies wait to be written together
    outbox: Outbox

    def opened(self, connection: Connection, *, known: bool) -> bool:
        """Take note of a session, if there is room for it; the last places are for `known` clients."""
        ...

    def closed(self, connection: Connection) -> None:
        """Take note of its end."""
        ...


class Place:
    """One connection's. `network` is the client as its limits know it; b"" for those who have none."""

    __slots__ = ("_context", "_home", "network")

    def __init__(self, home: Home, context: SessionContext) -> None:
        self._home = home
        self._context = context
        self.network = b""

    def take(self, connection: Connection, address: str) -> Reply | None:
        """Take it for the client at `address`; return the reply where there is none."""
        refusal = self._join(address)
        if refusal is not None or self._home.opened(connection, known=not self.network):
            return refusal
        self.leave()
        return replies.TOO_MANY_SESSIONS

    def move(self, address: str) -> Reply | None:
        """Count the client at `address` in the place of the one that came; return the reply where that one is over its limits."""
        self.leave()
        return self._join(address)

    def leave(self) -> None:
        """Give up the place among those of the client."""
        if self.network and self._context.clients is not None:
            self._context.clients.leave(self.network)
        self.network = b""

    def _join(self, address: str) -> Reply | None:
        clients = self._context.clients
        network = b"" if clients is None else clients.network(address)
        refusal = clients.enter(network, self._context.listener) if network and clients is not None else None
        if refusal is None:
            self.network = network
        return refusal
