"""Conversations with daemons that help plugins (virus and spam scanners, policy services): the plugin service `connect`.

A peer may be dead, slow, speak nonsense, hang up in the midst of its answer or never stop talking (PLG-04). So each conversation has one
deadline for everything, each read a bound, each peer a bound on how many talk to it at once, and a breaker: one that failed five times in
a row is not asked for half a minute, and whoever would have asked is told at once. One connection for each conversation: those
daemons are near, and most close it themselves.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TypeVar

from upesi.limits.breaker import Breaker
from upesi.mail.errors import ServiceFailed

__all__ = ["MAX_CONVERSATIONS", "MAX_READ", "Peer", "PeerFailed", "PeerStream", "Peers"]

T = TypeVar("T")

# octets of one read where the plugin does not say
MAX_READ = 65_536
# conversations with one peer at once in one worker; clamd has 10 threads by default, others wait for a place inside their deadline
MAX_CONVERSATIONS = 20
_TIMEOUT = 30.0
_CHUNK = 65_536
_LOOPBACK = "127.0.0.1"

Addresses = Callable[[str], Awaitable[tuple[str, ...]]]


class PeerFailed(ServiceFailed):
    """The peer has no answer. The text names the peer and what went wrong, and holds nothing of what was said."""

    status = "4.4.1"


class PeerStream:
    """One conversation. Each method raises PeerFailed; leaving the block that opened it closes it."""

    __slots__ = ("_name", "_reader", "_writer")

    def __init__(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, waiting where the peer is slow to take it."""
        # in pieces: the transport would keep what it cannot send, all of it
        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            self._writer.write(view[start : start + _CHUNK])
            await self._writer.drain()

    def end(self) -> None:
        """Say that nothing more comes from us."""
        self._writer.write_eof()

    async def until(self, mark: bytes, most: int = MAX_READ) -> bytes:
        """Return all up to `mark` and with it; more than `most` octets without it, and an end before it, are failures."""
        data = bytearray()
        while True:
            # read octet by octet would be slow, and what is behind the mark must not be lost: the reader finds it
            try:
                data += await self._reader.readuntil(mark)
            except asyncio.LimitOverrunError as error:
                data += await self._reader.readexactly(error.consumed)
            else:
                if len(data) <= most:
                    return bytes(data)
            if len(data) > most:
                raise self._failed(f"an answer of more than {most} octets")

    async def exactly(self, count: int) -> bytes:
        """Return `count` octets."""
        return await self._reader.readexactly(count)

    async def rest(self, most: int = MAX_READ) -> bytes:
        """Return all that comes until the peer hangs up, at most `most` octets."""
        data = bytearray()
        while piece := await self._reader.read(_CHUNK):
            data += piece
            if len(data) > most:
                raise self._failed(f"an answer of more than {most} octets")
        return bytes(data)

    def _failed(self, text: str) -> PeerFailed:
        return PeerFailed(f"{self._name}: {text}")


class Peer:
    """One daemon. `open` is a conversation with it:

    async with self.clamd.open() as stream:
        await stream.send(b"zPING\\0")
        answer = await stream.until(b"\\0")
    """

    __slots__ = ("_addresses", "_breaker", "_host", "_places", "_port", "_timeout", "name")

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        timeout: float,
        conversations: int,
        addresses: Addresses,
        breaker: Breaker,
    ) -> None:
        self.name = name
        self._host = host
        self._port = port
        self._timeout = timeout
        self._places = asyncio.Semaphore(conversations)
        self._addresses = addresses
        self._breaker = breaker

    @property
    def down(self) -> bool:
        """Whether its breaker is open."""
        return self._breaker.open

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PeerStream]:
        """Begin a conversation; at the end of the block it is closed. For all that is the peer's fault PeerFailed is raised.

        What the block raises itself (an answer that makes no sense) passes as it is, and counts as a failure of the peer all the same.
        """
        if self._breaker.shut():
            raise PeerFailed(f"{self.name}: failed again and again, and is left alone for a while")
        try:
            async with asyncio.timeout(self._timeout), self._places:
                reader, writer = await self._connected()
                try:
                    yield PeerStream(self.name, reader, writer)
                finally:
                    # not close(): what was not read or sent by now is nobody's any more
                    writer.transport.abort()
        except asyncio.CancelledError:
            # the client has gone, or the hook's own deadline has passed: `hooks.guard` counts those
            raise
        except BaseException as error:
            self._breaker.failed()
            text = _why(error)
            if text:
                raise PeerFailed(f"{self.name}: {text}") from None
            raise
        self._breaker.succeeded()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._port:
            return await asyncio.open_unix_connection(self._host)
        error: OSError | None = None
        for address in await self._found():
            try:
                return await asyncio.open_connection(address, self._port)
            except OSError as problem:
                error = problem
        raise error or PeerFailed(f"{self.name}: its name has no address")

    async def _found(self) -> tuple[str, ...]:
        try:
            ip_address(self._host)
        except ValueError:
            # "localhost" is this machine whatever DNS says of it (RFC 6761 section 6.3)
            return (_LOOPBACK, "::1") if self._host.lower() == "localhost" else await self._addresses(self._host)
        return (self._host,)


class Peers:
    """The service `connect`."""

    __slots__ = ("_addresses", "_now")

    def __init__(self, addresses: Addresses, now: Callable[[], float]) -> None:
        """`addresses` finds those of a name, none where there are none; `now` is a monotonic clock."""
        self._addresses = addresses
        self._now = now

    def peer(self, address: str, *, timeout: float = _TIMEOUT, conversations: int = MAX_CONVERSATIONS) -> Peer:
        """Return the daemon at "127.0.0.1:3310", "[::1]:3310", "scanner.example:3310" or "unix:/run/clamd.sock".

        `timeout` is in seconds, for one conversation with all that belongs to it. Raises ValueError for what is no address.
        """
        host, port = _place(address)
        if timeout <= 0 or conversations < 1:
            raise ValueError("timeout and conversations must be more than 0")
        return Peer(address, host, port, float(timeout), conversations, self._addresses, Breaker(self._now))


def _place(address: str) -> tuple[str, int]:
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"{address!r}: a socket needs its whole path, unix:/run/name.sock")
        return path, 0
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{address!r} is not of the form HOST:PORT or unix:/PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _why(error: BaseException) -> str:
    """Say what was the peer's fault, nothing for what was not."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, EOFError):
        return "hung up in the midst of its answer"
    if isinstance(error, OSError):
        # by number: the loop's own text has the address in it
        return os.strerror(error.errno) if error.errno else type(error).__name__
    return ""
