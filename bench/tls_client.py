"""A client for STARTTLS: one session for each message, so many at a time; the TLS of the standard library on sockets without streams.

`python -m bench.tls_client PORT COUNT SESSIONS` prints the seconds from the first connection to the last 221.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import cast

import uvloop

from bench.client import body_of
from bench.errors import BenchError
from upesi.tls.contexts import client_context
from upesi.tls.transport import TlsTransport

__all__ = ["TlsLoad"]

_HELLO = b"EHLO client.example.com\r\n"
# what is said when, and how the answer must begin
_STEPS = (
    (_HELLO, b"220"),
    (b"STARTTLS\r\n", b"250"),
    (b"", b"220"),
    (b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n", b"250"),
    (b"", b"250"),
    (b"", b"250"),
    (b"body", b"354"),
    (b"QUIT\r\n", b"250"),
    (b"", b"221"),
)


class _Session:
    """One session, from its connection to 221."""

    __slots__ = ("_buffer", "_load", "_step", "_transport")

    def __init__(self, load: TlsLoad) -> None:
        self._load = load
        self._buffer = b""
        self._step = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n")) >= 0:
            line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
            if line[3:4] != b"-":
                self._heard(line)

    def _heard(self, line: bytes) -> None:
        said, expected = _STEPS[self._step]
        self._step += 1
        if not line.startswith(expected):
            self._load.failed(BenchError(f"{line!r} instead of {expected!r}"))
            self._transport.abort()
        elif expected == b"220" and not said:
            tls = TlsTransport(self._transport, self, self._load.context, server_side=False)
            self._transport = tls
            tls.begin()
        elif said:
            self._transport.write(self._load.body if said == b"body" else said)
        elif expected == b"221":
            self._load.finished()
            self._transport.close()

    def tls_established(self) -> None:
        self._transport.write(_HELLO)

    def tls_failed(self, reason: str) -> None:
        self._load.failed(BenchError(f"handshake: {reason}"))

    def eof_received(self) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...

    def connection_lost(self, error: Exception | None) -> None:
        if self._step < len(_STEPS):
            self._load.failed(BenchError(f"the server hung up at step {self._step}"))


class TlsLoad:
    """`count` sessions with a message each, `sessions` at a time."""

    def __init__(self, port: int, count: int, sessions: int, size: int = 4000) -> None:
        self._port, self._count, self._sessions = port, count, sessions
        self.body = body_of(size) + b".\r\n"
        self.context = client_context(verify=False)
        self._left = count
        self._tasks: deque[asyncio.Task[None]] = deque()
        self._free = asyncio.Semaphore(sessions)
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> float:
        """Return the seconds that all took; raise BenchError."""
        loop, start = asyncio.get_running_loop(), time.monotonic()
        for _ in range(self._count):
            await self._free.acquire()
            if self._over.done():
                break
            await loop.create_connection(
                cast("type[asyncio.Protocol]", lambda: _Session(self)), "127.0.0.1", self._port
            )
        await self._over
        return time.monotonic() - start

    def finished(self) -> None:
        """Take note that a session has ended well."""
        self._left -= 1
        self._free.release()
        if not self._left and not self._over.done():
            self._over.set_result(None)

    def failed(self, error: BenchError) -> None:
        """Take note that one has not."""
        self._free.release()
        if not self._over.done():
            self._over.set_exception(error)


async def _main(port: int, count: int, sessions: int) -> None:
    print(await TlsLoad(port, count, sessions).run())


if __name__ == "__main__":
    uvloop.run(_main(*map(int, sys.argv[1:4])))
