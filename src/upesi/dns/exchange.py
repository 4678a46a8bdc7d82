"""One question to one server: UDP from a fresh socket, TCP where the answer was truncated.

A fresh connected socket for each question lets the kernel choose a random source port and drop what other hosts send (RFC 5452
section 9.2). A datagram that is no answer to the question is ignored, not believed and not an error: the true one may follow.
"""

from __future__ import annotations

import asyncio
import struct

import dns.message

from upesi.dns.codec import Query, is_truncated, read_reply

__all__ = ["ask"]

Server = tuple[str, int]


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers `query`."""

    __slots__ = ("_query", "reply")

    def __init__(self, query: Query, reply: asyncio.Future[dns.message.Message]) -> None:
        self._query = query
        self.reply = reply

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take the datagram if it is the answer."""
        reply = read_reply(self._query, data)
        if reply is not None and not self.reply.done():
            self.reply.set_result(reply)

    def error_received(self, exc: Exception) -> None:
        """Give up at once: nobody listens there."""
        if not self.reply.done():
            self.reply.set_exception(exc)


async def ask(loop: asyncio.AbstractEventLoop, server: Server, query: Query) -> dns.message.Message:
    """Return the server's reply; raise OSError, or EOFError for a TCP answer cut short. The caller sets the deadline."""
    wire = query.to_wire()
    future: asyncio.Future[dns.message.Message] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(query, future), remote_addr=server)
    try:
        transport.sendto(wire)
        reply = await future
    finally:
        transport.close()
    return await _ask_tcp(server, query, wire) if is_truncated(reply) else reply


async def _ask_tcp(server: Server, query: Query, wire: bytes) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = read_reply(query, await reader.readexactly(length))
    finally:
        writer.close()
    if reply is None:
        raise ConnectionError("not an answer to the question")
    return reply
