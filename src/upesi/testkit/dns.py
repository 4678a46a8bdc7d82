"""An authoritative DNS server for tests and benchmarks: answers over UDP and TCP, on loopback, and lies and fails where it is told to.

    async with FakeDns({("example.net", "MX"): ["10 mx.example.net."], ("mx.example.net", "A"): ["192.0.2.1"]}) as server:
        resolver = Resolver(loop, (server.address,), os.urandom)

A zone is a table, a callable, or text (`zone_of_text`). A name with no entry at all is NXDOMAIN; one with entries of other types only has
no data. An answer that is a `Rcode` is sent as such, None is no answer at all, a record "CNAME other.test." leads on; a `Told` says more:
delays, truncation, the AD bit, forgeries. A TXT record without quotes is one string. Answers that are too large for UDP are truncated.
Tests of plugins need no server: `upesi.testkit.resolver`. Run as a program it serves `dN.test` for N below the count, each with an
MX of its own that leads to one address:

    python -m upesi.testkit.dns PORT COUNT ADDRESS
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Literal, Self

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from upesi.testkit.zones import Found, Rcode, Records, Told, Zone, numbered_domains, zone_of, zone_of_text

__all__ = ["FakeDns", "Rcode", "Told", "Zone", "numbered_domains", "wrong_id", "wrong_question", "zone_of_text"]

MAX_CHAIN = 30

# octets of a string in a TXT record
_STRING = 255


class FakeDns:
    """The server. `asked` lists every question in order, `queries` how each was asked.

    `truncate` is for all answers by UDP. `tcp` says what happens to those who come by TCP. `plain` is an old server that knows no EDNS,
    `folds_case` one that does not repeat the question's capitals. Absence has a SOA, and may be remembered for `negative_ttl` seconds.
    """

    def __init__(
        self,
        zone: Zone | Mapping[tuple[str, str], Found],
        *,
        port: int = 0,
        ttl: int = 300,
        negative_ttl: int | None = 60,
        truncate: bool = False,
        tcp: Literal["answers", "closes", "hangs"] = "answers",
        plain: bool = False,
        folds_case: bool = False,
    ) -> None:
        self.zone = zone if callable(zone) else zone_of(zone)
        self._port = port
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._truncate = truncate
        self._answers_tcp = tcp
        self._plain = plain
        self._folds_case = folds_case
        self._transport: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None
        self._hanging: list[asyncio.StreamWriter] = []
        self.asked: list[tuple[str, str]] = []
        self.queries: list[dns.message.Message] = []
        self.clients: set[tuple[str, int]] = set()
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
        for writer in self._hanging:
            writer.close()

    def received(self, wire: bytes, client: tuple[str, int]) -> None:
        """Answer a datagram."""
        self.clients.add(client)
        told, reply = self._answered(wire, udp=True)
        if reply is None:
            return
        if told.delay:
            asyncio.get_running_loop().call_later(told.delay, self._send, told, wire, reply, client)
        else:
            self._send(told, wire, reply, client)

    def _send(self, told: Told, query: bytes, reply: bytes, client: tuple[str, int]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if told.forged is not None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
                for datagram in told.forged(query, reply):
                    elsewhere.sendto(datagram, client)
        for datagram in (*(told.noise(query, reply) if told.noise is not None else ()), reply):
            self._transport.sendto(datagram, client)

    def _answered(self, wire: bytes, *, udp: bool) -> tuple[Told, bytes | None]:
        """Return what is told of a query, and the reply, None for silence."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return Told(None), None
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        self.queries.append(query)
        found = self.zone(name, kind)
        told = found if isinstance(found, Told) else Told(found)
        what = told.what
        if told.unchecked is not None and query.flags & dns.flags.CD:
            what = told.unchecked
        return told, None if what is None else self._reply(query, name, kind, told, what, udp=udp)

    def _reply(
        self, query: dns.message.Message, name: str, kind: str, told: Told, what: Records | Rcode, *, udp: bool
    ) -> bytes:
        reply = dns.message.make_response(query, recursion_available=True)
        if self._folds_case:
            reply.question[0].name = reply.question[0].name.canonicalize()
        if self._plain and query.edns >= 0:
            reply.use_edns(False)
            what = Rcode.FORMERR
        if told.secure:
            reply.flags |= dns.flags.AD
        if isinstance(what, Rcode):
            reply.set_rcode(what)
        elif udp and (told.truncate or self._truncate):
            reply.flags |= dns.flags.TC
        else:
            reply.answer, rcode = self._chain(name, kind, what)
            reply.set_rcode(rcode)
        if not reply.answer and reply.rcode() in (Rcode.NOERROR, Rcode.NXDOMAIN) and self._negative_ttl is not None:
            soa = f"ns.invalid. root.invalid. 1 3600 600 86400 {self._negative_ttl}"
            reply.authority = [dns.rrset.from_text(".", 86400, "IN", "SOA", soa)]
        size = max(512, query.payload) if udp else 65535
        try:
            return reply.to_wire(max_size=size)
        except dns.exception.TooBig:
            reply.flags |= dns.flags.TC
            reply.answer = []
            return reply.to_wire()

    def _chain(self, name: str, kind: str, found: Records) -> tuple[list[dns.rrset.RRset], Rcode]:
        """Return the records, and those at the end of a CNAME, as a recursive server does; a loop is cut after a few rounds."""
        answer = []
        for _ in range(MAX_CHAIN):
            target = ""
            for record in found:
                type_ = kind
                if record.startswith("CNAME "):
                    type_, record = "CNAME", record.removeprefix("CNAME ")
                    target = record.rstrip(".").lower()
                text = record if type_ != "TXT" or record.startswith('"') else _quoted(record)
                answer.append(dns.rrset.from_text(name + ".", self._ttl, "IN", type_, text))
            following = self.zone(target, kind) if target and kind != "CNAME" else None
            if isinstance(following, Told):
                following = following.what
            if isinstance(following, Rcode):
                return answer, following
            if following is None:
                break
            name, found = target, following
        return answer, Rcode.NOERROR

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._answers_tcp == "hangs":
            self._hanging.append(writer)
            return
        try:
            if self._answers_tcp == "answers":
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                told, reply = self._answered(await reader.readexactly(length), udp=False)
                await asyncio.sleep(told.delay)
                if reply is not None:
                    writer.write(struct.pack("!H", len(reply)) + reply)
                    await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: FakeDns) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.received(data, addr)


def _quoted(text: str) -> str:
    """Return the strings of a TXT record that is written without quotes: dnspython would take it for one string each word."""
    escaped = [
        "".join(f"\\{ord(c):03}" if c in '"\\' else c for c in text[at : at + _STRING])
        for at in range(0, len(text), _STRING)
    ]
    return " ".join(f'"{part}"' for part in escaped) or '""'


def wrong_id(query: bytes, reply: bytes) -> list[bytes]:
    """Make noise: the reply with the neighbour's id, as somebody sends it who guesses."""
    return [bytes((reply[0], reply[1] ^ 1)) + reply[2:]]


def wrong_question(query: bytes, reply: bytes) -> list[bytes]:
    """Make noise: an answer with the right id to another question; and what is no message at all."""
    other = dns.message.make_response(
        dns.message.make_query("other.invalid", "MX", id=int.from_bytes(query[:2], "big"))
    )
    other.answer = [dns.rrset.from_text("other.invalid.", 60, "IN", "MX", "0 evil.invalid.")]
    return [other.to_wire(), b"", b"\xff" * 40, query[:2], query]


async def _run(port: int, count: int, address: str) -> None:
    async with FakeDns(numbered_domains(count, address), port=port) as server:
        sys.stdout.write(f"{server.address[1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
