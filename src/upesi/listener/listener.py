"""One listening socket of this worker: accepts, counts, looks at the deadlines of its sessions, drains.

The socket is bound and kept by the supervisor, so what waits in its accept queue survives this worker.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from upesi.config.networks import Networks
from upesi.config.settings import Role
from upesi.listener.admission import Admission
from upesi.listener.arrival import Arrival
from upesi.listener.connection import Connection
from upesi.listener.outbox import Outbox
from upesi.listener.proxied import Porch
from upesi.session.context import SessionContext

__all__ = ["Listener"]

# every session is looked at once in so many seconds, an eighth of them at a time: 10,000 at once would hold the loop for milliseconds
_SWEEP = 1.0
_SLICES = 8
# Seconds that a sweep may be late before we take it that this process, or the machine, was stopped: nobody's deadline passes
# while nobody listens (CLK-02), or all sessions would end at once when it goes on
_STOPPED = 5.0


class Listener:
    """Serves the sessions of one bound socket.

    `max_sessions` is this worker's share. `turned_away` counts those beyond it, `accepted` all others, for ever.
    """

    __slots__ = (
        "_admission", "_backlog", "_due", "_empty", "_loop", "_max_sessions", "_porch", "_server", "_slice", "_slices",
        "_socket", "_timer", "accepted", "context", "draining", "outbox", "patient", "sessions", "turned_away",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        context: SessionContext,
        *,
        max_sessions: int,
        backlog: int = 1024,
        proxies: Networks | None = None,
        admission: Admission | None = None,
    ) -> None:
        """`proxies`: connections come from there only, and begin with a PROXY header. `admission`: the places of the whole worker."""
        self._socket = sock
        self.context = context
        self._max_sessions = max_sessions
        self._admission = admission or Admission(max_sessions)
        self._backlog = backlog
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(self._loop)
        self._porch: Porch | None = None
        if proxies:
            self._porch = Porch(
                self._loop, proxies, self._proxied, context.emit, listener=context.listener,
                seconds=context.settings.timeouts.proxy, bound=max_sessions,
            )  # fmt: skip
        self._server: asyncio.AbstractServer | None = None
        self._slices: tuple[set[Connection], ...] = tuple(set() for _ in range(_SLICES))
        self._slice = 0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._empty: asyncio.Future[None] | None = None
        self.draining = False
        self.patient = False
        self.sessions = 0
        self.accepted = 0
        self.turned_away = 0

    async def start(self) -> None:
        """Begin to accept."""
        factory = self._protocol if self._porch is None else self._porch.gate
        self._server = await self._loop.create_server(factory, sock=self._socket, backlog=self._backlog)

    @property
    def strangers(self) -> int:
        """How many connections were closed because no listed proxy said whose they were, for ever."""
        return 0 if self._porch is None else self._porch.refusals

    def _protocol(self) -> asyncio.Protocol:
        return cast("asyncio.Protocol", Connection(self, self.context, self._loop))

    def _proxied(self, arrival: Arrival) -> asyncio.Protocol:
        return cast("asyncio.Protocol", Connection(self, self.context, self._loop, arrival))

    async def drain(self, deadline: float, *, patient: bool = False) -> None:
        """Stop accepting, send idle clients away, and let the others finish their transaction, for `deadline` seconds at most.

        With `patient`, a client that has brought no message yet is not idle: others take over, so nothing presses.
        Returns when no session is left.
        """
        self.draining = True
        self.patient = patient
        if self._server is not None:
            self._server.close()
        if self._porch is not None:
            self._porch.close()
        for connection in self._connections():
            connection.retire()
        if not await self._emptied(deadline):
            for connection in self._connections():
                connection.evict()
            if not await self._emptied(_SWEEP):
                for connection in self._connections():
                    connection.abort()
                await self._emptied(_SWEEP)

    def _connections(self) -> list[Connection]:
        return [connection for part in self._slices for connection in part]

    async def _emptied(self, seconds: float) -> bool:
        if self.sessions:
            self._empty = self._loop.create_future()
            await asyncio.wait((self._empty,), timeout=seconds)
            self._empty = None
        return not self.sessions

    @property
    def occupied(self) -> float:
        """The part of our places that is taken."""
        return self.sessions / self._max_sessions

    # -- what the connections call

    def opened(self, connection: Connection, *, known: bool) -> bool:
        """Take note of a session, if there is room for it; the worker's last places are for our own users, and for `known` clients."""
        favoured = known or self.context.role is Role.SUBMISSION
        if self.sessions >= self._max_sessions or not self._admission.enter(favoured=favoured):
            self.turned_away += 1
            return False
        self.accepted += 1
        self.sessions += 1
        self._slices[_slice_of(connection)].add(connection)
        if self._timer is None:
            self._arm()
        return True

    def _arm(self) -> None:
        self._due = self._loop.time() + _SWEEP / _SLICES
        self._timer = self._loop.call_at(self._due, self._sweep)

    def closed(self, connection: Connection) -> None:
        """Take note of its end."""
        self.sessions -= 1
        self._admission.leave()
        self._slices[_slice_of(connection)].discard(connection)
        if not self.sessions:
            # without sessions nothing ticks
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._empty is not None and not self._empty.done():
                self._empty.set_result(None)

    def _sweep(self) -> None:
        self._slice = (self._slice + 1) % _SLICES
        now = self._loop.time()
        late = now - self._due
        if late > _STOPPED:
            for connection in self._connections():
                connection.forgive(late)
        self._arm()
        for connection in tuple(self._slices[self._slice]):
            connection.check(now)


def _slice_of(connection: Connection) -> int:
    # objects lie at multiples of 16 octets; the bits above are as good as chance, and cost no field
    return (id(connection) >> 5) % _SLICES
