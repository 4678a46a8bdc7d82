"""An authoritative DNS server for tests and benchmarks: answers from a mapping or a callable, over UDP and TCP, on loopback.

    async with FakeDns({("example.net", "MX"): ["10 mx.example.net."], ("mx.example.net", "A"): ["192.0.2.1"]}) as server:
        resolver = Resolver(loop, (server.address,), os.urandom)

A name with no entry at all is NXDOMAIN; one with entries of other types only has no data. An answer that is a `Rcode` is sent as such, None
is no answer at all, a record "CNAME other.test." leads on. Run as a program it serves `dN.test` for N below the count, each with an MX of
its own that leads to one address:

    python -m upesi.testkit.dns PORT COUNT ADDRESS
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self, cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

__all__ = ["FakeDns", "Rcode", "Zone", "numbered_domains"]

Rcode = dns.rcode.Rcode
Records = Sequence[str]

MAX_CHAIN = 20
Zone = Callable[[str, str], "Records | Rcode | None"]


class FakeDns:
    """The server. `asked` lists every question in order; with `truncate`, UDP answers are empty and say: come by TCP."""

    def __init__(
        self,
        zone: Zone | Mapping[tuple[str, str], Records | Rcode | None],
        *,
        port: int = 0,
        ttl: int = 300,
        truncate: bool = False,
    ) -> None:
        self._zone = zone if callable(zone) else _zone_of(dict(zone))
        self._port = port
        self._ttl = ttl
        self._truncate = truncate
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self.asked: list[tuple[str, str]] = []
        self.address = ("127.0.0.1", port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def start(self) -> None:
        """Bind UDP and TCP to one port."""
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self.address = self._tcp.sockets[0].getsockname()[:2]
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=self.address)

    def close(self) -> None:
        """Stop answering."""
        if self._transport is not None and self._tcp is not None:
            self._transport.close()
            self._tcp.close()

    def answer(self, wire: bytes, *, truncate: bool) -> bytes | None:
        """Return the reply to a query, None for silence."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        found = self._zone(name, kind)
        if found is None:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if isinstance(found, Rcode):
            reply.set_rcode(found)
        elif truncate:
            reply.flags |= dns.flags.TC
        else:
            reply.answer = self._chain(name, kind, found)
        return reply.to_wire(max_size=65535)

    def _chain(self, name: str, kind: str, found: Records) -> list[dns.rrset.RRset]:
        """Return the records, and those at the end of a CNAME, as a recursive server does; a loop is cut after a few rounds."""
        answer = []
        for _ in range(MAX_CHAIN):
            target = ""
            for record in found:
                type_ = kind
                if record.startswith("CNAME "):
                    type_, record = "CNAME", record.removeprefix("CNAME ")
                    target = record.rstrip(".").lower()
                answer.append(dns.rrset.from_text(name + ".", self._ttl, "IN", type_, record))
            following = self._zone(target, kind) if target else None
            if following is None or isinstance(following, Rcode):
                break
            name, found = target, following
        return answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            reply = self.answer(await reader.readexactly(length), truncate=False)
            if reply is not None:
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    @property
    def truncates(self) -> bool:
        """Whether UDP answers are cut."""
        return self._truncate


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: FakeDns) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.answer(data, truncate=self._server.truncates)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


def _zone_of(records: dict[tuple[str, str], Records | Rcode | None]) -> Zone:
    names = {name for name, _ in records}

    def zone(name: str, kind: str) -> Records | Rcode | None:
        if (name, kind) in records:
            return records[name, kind]
        return () if name in names else Rcode.NXDOMAIN

    return zone


def numbered_domains(count: int, address: str) -> Zone:
    """Return a zone of `count` domains d0.test, d1.test, ...: each with its own MX host, all at `address`."""

    def zone(name: str, kind: str) -> Records | Rcode | None:
        label = name.removesuffix(".test").removeprefix("mx.").removeprefix("d")
        if not name.endswith(".test") or not label.isdigit() or int(label) >= count:
            return Rcode.NXDOMAIN
        if kind == "MX" and not name.startswith("mx."):
            return (f"10 mx.d{label}.test.",)
        return (address,) if kind == "A" and name.startswith("mx.") else ()

    return zone


async def _run(port: int, count: int, address: str) -> None:
    async with FakeDns(numbered_domains(count, address), port=port) as server:
        sys.stdout.write(f"{server.address[1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
