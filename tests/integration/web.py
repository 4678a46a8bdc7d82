"""A web server of the tests: it answers what it is told to, octet for octet, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

Answer = bytes | Callable[[bytes], bytes]


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """Return an HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Web:
    """`answers` are given one after the other, the last one again and again; an empty one closes the connection, None says nothing."""

    def __init__(self, *answers: Answer | None) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if given is None:
                    await reader.read()
                    break
                octets = given(self.requests[-1]) if callable(given) else given
                if not octets:
                    break
                writer.write(octets)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def web(*answers: Answer | None, context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    """Serve on a port of 127.0.0.1."""
    site = Web(*answers)
    server = await asyncio.start_server(site._serve, "127.0.0.1", 0, ssl=context)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
