"""A lean client of our own, for what smtp-source cannot do: pace, recipients that differ, and the time from dot to 250.

It is an `asyncio.Protocol` without a task per connection, so that it takes little of the cores that it shares with the servers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import cast

from bench.errors import BenchError

__all__ = ["Acknowledged", "Sender", "body_of"]

_MARK = b"X-Bench: %d\r\n"


def body_of(size: int) -> bytes:
    """Return message data of about `size` octets, without the field that `Sender` puts in front of it."""
    line = b"The quick brown fox jumps over the lazy dog, again and again.\r\n"
    return b"Subject: bench\r\nFrom: <a@example.com>\r\n\r\n" + line * max(size // len(line), 1)


@dataclasses.dataclass
class Acknowledged:
    """What the client saw: per message the monotonic time of its 250 and the seconds from its final dot to that."""

    at: dict[int, float] = dataclasses.field(default_factory=dict)
    waits: list[float] = dataclasses.field(default_factory=list)
    refused: int = 0
    refusal: bytes = b""


class _Connection(asyncio.Protocol):
    """One kept connection: greeting, EHLO, then MAIL RCPT DATA in one write, the data in another (RFC 2920)."""

    def __init__(self, sender: Sender) -> None:
        self._sender, self._buffer, self._number = sender, b"", -1
        self._expected: deque[Callable[[bytes], None]] = deque([self._greeted])
        self._dot = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._sender.preface:
            self._write(self._sender.preface)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            if line[3:4] != b"-" and self._expected:
                self._expected.popleft()(line)

    def connection_lost(self, error: Exception | None) -> None:
        self._sender.lost(self)

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def _greeted(self, line: bytes) -> None:
        self._write(b"EHLO client.%s\r\n" % self._sender.domain)
        self._expected.append(lambda line: self._sender.idle(self))

    def send(self, number: int, recipient: bytes) -> None:
        """Begin the transaction of message `number`."""
        self._number = number
        self._write(b"MAIL FROM:<a@%s>\r\nRCPT TO:<%s>\r\nDATA\r\n" % (self._sender.domain, recipient))
        self._expected += [_ignore, _ignore, self._data]

    def _data(self, line: bytes) -> None:
        if not line.startswith(b"354"):
            self._refused(line)
            self._write(b"RSET\r\n")
            self._expected.append(lambda line: self._sender.idle(self))
            return
        self._write(_MARK % self._number + self._sender.body + b".\r\n")
        self._dot = time.monotonic()
        self._expected.append(self._done)

    def _done(self, line: bytes) -> None:
        now, seen = time.monotonic(), self._sender.acknowledged
        if line.startswith(b"250"):
            seen.at[self._number] = now
            seen.waits.append(now - self._dot)
        else:
            self._refused(line)
        self._sender.idle(self)

    def _refused(self, line: bytes) -> None:
        self._sender.acknowledged.refused += 1
        self._sender.acknowledged.refusal = line


def _ignore(line: bytes) -> None:
    """Take a reply whose refusal shows in the reply to DATA."""


class Sender:
    """Sends messages to one port over kept connections; `run` once. `preface` is said before the greeting (a PROXY header)."""

    def __init__(
        self,
        port: int,
        recipients: Iterable[bytes],
        size: int = 4000,
        sessions: int = 50,
        *,
        preface: bytes = b"",
        body: bytes = b"",
        domain: str = "example.com",
    ) -> None:
        self._port, self._sessions, self.body, self.preface = port, sessions, body or body_of(size), preface
        self.domain = domain.encode()
        self._recipients: Iterator[bytes] = iter(recipients)
        self.acknowledged = Acknowledged()
        self._free: deque[_Connection] = deque()
        self._busy, self._number, self._ended = 0, 0, False
        self._greeted, self._done = asyncio.Event(), asyncio.Event()

    async def run(self, rate: float | None = None, patience: float = 120.0) -> Acknowledged:
        """Send everything, as fast as replies come or `rate` messages a second; raise BenchError if it does not end."""
        loop = asyncio.get_running_loop()
        for _ in range(self._sessions):
            await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        try:
            async with asyncio.timeout(patience):
                await self._greeted.wait()
                await (self._paced(rate) if rate else self._closed_loop())
        except TimeoutError as error:
            raise BenchError(
                f"port {self._port} acknowledged {len(self.acknowledged.at)} messages and stopped"
            ) from error
        for connection in self._free:
            if connection.transport is not None:
                connection.transport.close()
        return self.acknowledged

    async def _closed_loop(self) -> None:
        self._open = True
        for connection in list(self._free):
            self._free.remove(connection)
            self._next(connection)
        await self._done.wait()

    async def _paced(self, rate: float) -> None:
        self._open, start, due = False, time.monotonic(), 0
        while not self._ended:
            target = (time.monotonic() - start) * rate
            while due < target and self._free and not self._ended:
                self._next(self._free.popleft())
                due += 1
            await asyncio.sleep(0.002)
        await self._done.wait()

    def _next(self, connection: _Connection) -> None:
        recipient = next(self._recipients, None)
        if recipient is None:
            self._ended = True
            self._free.append(connection)
            if self._busy == 0:
                self._done.set()
            return
        self._busy += 1
        self._number += 1
        connection.send(self._number, recipient)

    def idle(self, connection: _Connection) -> None:
        """Take note that `connection` awaits its next message."""
        if self._number == 0 and self._busy == 0:
            self._free.append(connection)
            if len(self._free) == self._sessions:
                self._greeted.set()
            return
        self._busy -= 1
        if self._open and not self._ended:
            self._next(connection)
            return
        self._free.append(connection)
        if self._ended and self._busy == 0:
            self._done.set()

    def lost(self, connection: _Connection) -> None:
        """Take note that the server hung up: a bench run in which that happens does not end, and says so."""
