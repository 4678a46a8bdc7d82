"""Connections that begin with a PROXY header: who the client is comes from a proxy, and from nobody else.

In front of the session, and of TLS too where that is implicit, stands a gate for each connection. It lets in those that come from a listed
network with a header; everybody else is closed without a word, since whoever can choose the address that we see could choose one
that may relay. A header from a proxy that cannot name its client gives no address, and so no rights by network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from upesi.config.networks import Networks
from upesi.listener.arrival import Arrival, arrival, peer
from upesi.protocol.proxy.header import ProxyError, ProxyHeader
from upesi.protocol.proxy.reader import ProxyReader

__all__ = ["Porch"]

# seconds between two events about connections that were refused: who causes them must not fill the disk (FLD-12)
_TELL = 10.0

Refuse = Callable[[str, dict[str, object]], None]


class Porch:
    """All gates of one listener. At most `bound` of them wait for a header, each for at most `seconds`; `refusals` counts for ever."""

    __slots__ = (
        "_bound",
        "_emit",
        "_listener",
        "_loop",
        "_make",
        "_networks",
        "_seconds",
        "_told",
        "_untold",
        "_waiting",
        "refusals",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        networks: Networks,
        make: Callable[[Arrival], asyncio.Protocol],
        emit: Refuse,
        *,
        listener: str,
        seconds: float,
        bound: int,
    ) -> None:
        self._loop = loop
        self._networks = networks
        self._make = make
        self._emit = emit
        self._listener = listener
        self._seconds = seconds
        self._bound = bound
        self._waiting: set[_Gate] = set()
        self._told = -_TELL
        self._untold = 0
        self.refusals = 0

    @property
    def waiting(self) -> int:
        """How many connections have not said yet whose they are."""
        return len(self._waiting)

    def gate(self) -> asyncio.Protocol:
        """Return the protocol for one connection that was accepted."""
        return _Gate(self)

    def close(self) -> None:
        """Close all that wait: nobody has been greeted there."""
        for gate in tuple(self._waiting):
            gate.shut()

    # -- what gates call

    def enter(self, gate: _Gate, address: str) -> str:
        """Let a connection wait for its header; return why not, "" if it may."""
        if address not in self._networks:
            return "not a listed proxy"
        if len(self._waiting) >= self._bound:
            return "too many connections without a header"
        self._waiting.add(gate)
        return ""

    def leave(self, gate: _Gate) -> None:
        """Wait for it no longer."""
        self._waiting.discard(gate)

    def timer(self, late: Callable[[], None]) -> asyncio.TimerHandle:
        """Call `late` when the time for a header is over."""
        return self._loop.call_later(self._seconds, late)

    def connection(self, arrival: Arrival) -> asyncio.Protocol:
        """Return the session's end of the connection."""
        return self._make(arrival)

    def refused(self, address: str, reason: str) -> None:
        """Tell about a connection that was closed: about the first, and about the others in a sum."""
        self.refusals += 1
        self._untold += 1
        now = self._loop.time()
        if now - self._told < _TELL:
            return
        self._emit(
            "proxy.refused",
            {"client": address, "listener": self._listener, "reason": reason, "count": self._untold},
        )
        self._told, self._untold = now, 0


class _Gate(asyncio.Protocol):
    """One connection up to the end of its header."""

    __slots__ = ("_address", "_porch", "_port", "_reader", "_timer", "_transport")

    _transport: asyncio.Transport

    def __init__(self, porch: Porch) -> None:
        self._porch = porch
        self._reader = ProxyReader()
        self._address, self._port = "", 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait, for those who may speak here."""
        self._transport = cast("asyncio.Transport", transport)
        self._address, self._port = peer(transport.get_extra_info("peername"))
        problem = self._porch.enter(self, self._address)
        if problem:
            self._refuse(problem)
        else:
            self._timer = self._porch.timer(self._late)

    def data_received(self, data: bytes) -> None:
        """Take a part of the header; at its end, let the connection in."""
        if self._transport.is_closing():
            return
        try:
            header = self._reader.receive(data)
        except ProxyError as error:
            self._refuse(str(error))
            return
        if header is not None:
            self._open(header)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it: a check whether the port is open says nothing."""
        self._done()

    def shut(self) -> None:
        """Close the connection."""
        self._done()
        self._transport.abort()

    def _open(self, header: ProxyHeader) -> None:
        """Hand over to the session, with what came behind the header: the client's first octets, or TLS's."""
        self._done()
        transport = self._transport
        connection = self._porch.connection(arrival(header, self._address, self._port))
        transport.set_protocol(connection)
        connection.connection_made(transport)
        rest = self._reader.rest
        if rest and not transport.is_closing():
            # the session may have put TLS in front of itself by now
            cast("asyncio.Protocol", transport.get_protocol()).data_received(rest)

    def _late(self) -> None:
        self._timer = None
        self._refuse("no header in time")

    def _refuse(self, reason: str) -> None:
        self._porch.refused(self._address, reason)
        self.shut()

    def _done(self) -> None:
        self._porch.leave(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
