"""A web server of the tests: it answers what it is told to, octet for octet, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable

from integration.stubs import serving, until_closed

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

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
            self.requests.append(head + await reader.readexactly(length))
            given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if given is None:
                await until_closed(reader)
                return
            octets = given(self.requests[-1]) if callable(given) else given
            if not octets:
                return
            writer.write(octets)
            await writer.drain()


@contextlib.asynccontextmanager
async def web(*answers: Answer | None, context: ssl.SSLContext | None = None) -> AsyncIterator[Web]:
    """Serve on a port of 127.0.0.1."""
    site = Web(*answers)
    async with serving(site.talk, context=context) as site.port:
        yield site
