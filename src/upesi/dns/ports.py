"""UDP to one server: a few connected sockets with random ports, each with many questions, told apart by their ids (RFC 5452 section 9.2).

A connected socket gets nothing that another host sends. To forge an answer one must guess the port (the kernel chooses it at random),
which of PORTS sockets a question left by, and its id; and a socket is replaced after some questions or seconds, so a port that was found
out is of no use for long. A socket for each question would be little harder to guess, and costs a descriptor and 60 us each time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from upesi.dns.codec import HEADER_SIZE
from upesi.dns.servers import Server

__all__ = ["Attempt", "Ports"]

# Sockets of one server that are in use at once; those that were replaced live on until their last question has ended
PORTS = 8

# Questions and seconds after which a socket is replaced. An id is used once in a socket's life, so that a late answer is known as one
MAX_USES = 128
MAX_AGE = 10.0

# Ids of a socket that could not be replaced because descriptors ran out; with more it would take long to find one that is free
MAX_IDS = 16_384

# Datagrams with ids that were never asked for, after which a socket is replaced: somebody guesses
MAX_STRANGE = 16

# Octets of one datagram, and datagrams read before others have their turn
_LARGEST = 4096
_AT_ONCE = 64


class Attempt:
    """One question sent to one server. Whoever waits gets `arrived` called with each datagram of its id, or the error of its socket."""

    __slots__ = ("arrived", "id", "port")

    def __init__(self, arrived: Callable[[Attempt, bytes | OSError], None]) -> None:
        self.arrived = arrived
        self.id = 0
        self.port: _Port | None = None

    def end(self) -> None:
        """Listen no more: what comes now is late."""
        port, self.port = self.port, None
        if port is not None:
            port.forget(self.id)


class _Port:
    """One socket. `attempts` holds every id that was ever used, with None for those that are over."""

    __slots__ = ("_loop", "_socket", "_waiting", "attempts", "opened", "retired", "strange")

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server) -> None:
        """Open it; raise OSError."""
        self._loop = loop
        self.attempts: dict[int, Attempt | None] = {}
        self._waiting = 0
        self.opened = loop.time()
        self.strange = 0
        self.retired = False
        self._socket = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(server)
            loop.add_reader(self._socket.fileno(), self._readable)
        except BaseException:
            self._socket.close()
            raise

    @property
    def worn(self) -> bool:
        """Whether another must take its place."""
        if self.strange >= MAX_STRANGE or len(self.attempts) >= MAX_USES:
            return True
        return self._loop.time() - self.opened >= MAX_AGE

    def send(self, attempt: Attempt, id: int, query: bytes) -> None:
        """Send a query with an id that was not used before; raise OSError."""
        self._socket.send(query)
        attempt.id, attempt.port = id, self
        self.attempts[id] = attempt
        self._waiting += 1

    def forget(self, id: int) -> None:
        """Let an id be late from now on."""
        self.attempts[id] = None
        self._waiting -= 1
        if self.retired and not self._waiting:
            self.close()

    def retire(self) -> None:
        """Close it when nothing is waited for any more."""
        self.retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Close the socket; attempts that wait hear nothing."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                datagram = self._socket.recv(_LARGEST)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # "connection refused": nobody listens there, for any of the questions
                self._failed(error)
                return
            self._received(datagram)
            if self._socket.fileno() < 0:
                return

    def _received(self, datagram: bytes) -> None:
        if len(datagram) < HEADER_SIZE:
            return
        id = int.from_bytes(datagram[:2], "big")
        attempt = self.attempts.get(id)
        if attempt is not None:
            attempt.arrived(attempt, datagram)
        elif id not in self.attempts:
            self.strange += 1

    def _failed(self, error: OSError) -> None:
        for attempt in [attempt for attempt in self.attempts.values() if attempt is not None]:
            attempt.arrived(attempt, error)


class Ports:
    """The sockets of one server. `entropy(n)` gives n random octets."""

    __slots__ = ("_entropy", "_loop", "_ports", "_server", "opened")

    def __init__(self, loop: asyncio.AbstractEventLoop, server: Server, entropy: Callable[[int], bytes]) -> None:
        self._loop = loop
        self._server = server
        self._entropy = entropy
        self._ports: list[_Port | None] = [None] * PORTS
        # sockets that were ever opened
        self.opened = 0

    def send(self, attempt: Attempt, query: Callable[[int], bytes]) -> None:
        """Send the query that `query` makes of an id; raise OSError."""
        chance = self._entropy(3)
        port = self._port(chance[0] % PORTS)
        id = int.from_bytes(chance[1:], "big")
        while id in port.attempts:
            # at most MAX_IDS of 65536 are taken: this ends
            id = int.from_bytes(self._entropy(2), "big")
        port.send(attempt, id, query(id))

    def close(self) -> None:
        """Close the sockets, those that are waited for when their last question has ended."""
        for port in self._ports:
            if port is not None:
                port.retire()
        self._ports = [None] * PORTS

    def _port(self, number: int) -> _Port:
        port = self._ports[number]
        if port is not None and not port.worn:
            return port
        try:
            new = _Port(self._loop, self._server)
        except OSError:
            # out of descriptors: the worn one is easier to guess, and better than no DNS at all (RES-01)
            if port is None or len(port.attempts) >= MAX_IDS:
                raise
            return port
        self.opened += 1
        if port is not None:
            port.retire()
        self._ports[number] = new
        return new
