"""The gate in front of listeners behind a proxy: who is let in, as whom, and how long it waits."""

from typing import Any

import pytest
from sessionkit import Dialogue, MemoryTransport, SteppedLoop

from upesi.config.networks import Networks
from upesi.listener.arrival import Arrival
from upesi.listener.connection import Connection
from upesi.listener.proxied import Porch

PROXY = ("10.0.0.9", 50000)
HEADER = b"PROXY TCP4 192.0.2.7 198.51.100.2 40007 25\r\n"
LOCAL2 = bytes.fromhex("0d0a0d0a000d0a515549540a 20 00 0000")
UNIX2 = bytes.fromhex("0d0a0d0a000d0a515549540a 21 31 00d8") + bytes(216)


class Wire(MemoryTransport):
    """A transport whose protocol can be exchanged."""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def is_closing(self) -> bool:
        return self.closed


class World:
    """A listener behind 10.0.0.0/8; the sessions are those of a Dialogue."""

    def __init__(self, bound: int = 10, **points: Any) -> None:
        self.loop = SteppedLoop()
        self.talk = Dialogue(loop=self.loop, **points)
        self.arrivals: list[Arrival] = []
        self.events: list[dict[str, object]] = []
        self.porch = Porch(
            self.loop,  # type: ignore[arg-type]
            Networks(["10.0.0.0/8"]),
            self._connection,
            lambda name, fields: self.events.append(fields),
            listener="mx",
            seconds=5.0,
            bound=bound,
        )

    def _connection(self, arrival: Arrival) -> Connection:
        self.arrivals.append(arrival)
        return Connection(self.talk.home, self.talk.context, self.loop, arrival)  # type: ignore[arg-type]

    def connect(self, peer: object = PROXY) -> Wire:
        wire = Wire(peer)
        wire.set_protocol(self.porch.gate())
        wire.get_protocol().connection_made(wire)
        return wire


def said(wire: Wire, data: bytes) -> bytes:
    """Send octets to whoever the transport's protocol is; return all that was answered so far."""
    wire.get_protocol().data_received(data)
    return wire.written


def test_the_header_comes_first_and_the_greeting_after_it() -> None:
    """PRX-02: a listed proxy must say who the client is before anything is said to it."""
    world = World()
    wire = world.connect()
    assert said(wire, HEADER[:10]) == b""
    assert said(wire, HEADER[10:]) == b"220 mx.example.net ESMTP\r\n"
    assert world.arrivals == [Arrival("192.0.2.7", 40007, "10.0.0.9", "version 1 from 10.0.0.9")]
    assert world.porch.waiting == 0


def test_the_client_is_who_the_header_names() -> None:
    """PRX-02: the address of the header is the session's in hooks, in Received, in the spool and in events."""
    seen = []
    world = World(connect=lambda session: seen.append((session.client.address, session.client.port, session.via)))
    wire = world.connect()
    said(wire, HEADER)
    said(wire, b"EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n")
    assert b"250 2.0.0 Ok: queued" in said(wire, b"x\r\n.\r\n")
    wire.get_protocol().connection_lost(None)
    assert seen[-1] == ("192.0.2.7", 40007, "10.0.0.9")
    (message,) = world.talk.intake.accepted
    assert message.prefix.startswith(b"Received: from c.example ([192.0.2.7])\r\n")
    assert message.origin["client"] == "192.0.2.7"
    (ended,) = world.talk.named("session.ended")
    assert (ended["client"], ended["via"]) == ("192.0.2.7", "10.0.0.9")


def test_what_came_with_the_header_is_not_lost() -> None:
    """PRX-02: proxies send header and first octets in one segment; they are early talk, as without a proxy."""
    world = World()
    wire = world.connect()
    said(wire, HEADER + b"EHLO c.example\r\n")
    assert wire.written.startswith(b"220 ")
    assert b"\r\n250 " in wire.written


def test_the_rest_goes_to_whoever_stands_in_front_of_the_session() -> None:
    """Implicit TLS takes over the transport when the session begins: the ClientHello behind the header is TLS's."""

    class Tls:
        heard = b""

        def data_received(self, data: bytes) -> None:
            self.heard += data

    tls = Tls()

    class Session:
        def connection_made(self, transport: Wire) -> None:
            transport.set_protocol(tls)

    world = World()
    world.porch._make = lambda arrival: Session()  # type: ignore[assignment,return-value]
    wire = world.connect()
    said(wire, HEADER + b"\x16\x03\x01")
    assert tls.heard == b"\x16\x03\x01"


@pytest.mark.parametrize("peer", [("11.0.0.9", 50000), ("::1", 50000, 0, 0), ""])
@pytest.mark.parametrize("octets", [HEADER, LOCAL2, b"EHLO x\r\n"])
def test_nobody_else_is_let_in(peer: object, octets: bytes) -> None:
    """PRX-01: from any other address the connection is closed before a word of it is read."""
    world = World()
    wire = world.connect(peer)
    assert wire.aborted
    assert said(wire, octets) == b""
    assert world.arrivals == []
    assert world.events[0]["reason"] == "not a listed proxy"


@pytest.mark.parametrize(
    "octets", [b"EHLO x\r\n", b"PROXY TCP4 x\r\n", b"\x16\x03\x01", b"PROXY UNKNOWN".ljust(108, b" ")]
)
def test_a_proxy_without_a_header_is_closed(octets: bytes) -> None:
    """PRX-02: no header, no session: without it the client would be whoever the proxy's address says, and might relay."""
    world = World()
    wire = world.connect()
    assert said(wire, octets) == b""
    assert wire.aborted
    assert world.arrivals == []
    assert said(wire, HEADER) == b""


def test_a_header_that_does_not_come_is_not_waited_for() -> None:
    """PRX-02: five seconds, of which octets buy none; who came in time is not touched by the clock."""
    world = World()
    prompt, late, silent = world.connect(), world.connect(), world.connect()
    said(prompt, HEADER)
    world.loop.advance(4.9)
    said(late, HEADER[:-1])
    assert not late.aborted
    assert not silent.aborted
    world.loop.advance(0.2)
    assert late.aborted
    assert silent.aborted
    assert not prompt.closed
    assert world.porch.waiting == 0
    assert world.events[0]["reason"] == "no header in time"


def test_waiting_connections_are_bounded() -> None:
    """Everything is bounded: beyond as many as there may be sessions, connections without a header are closed."""
    world = World(bound=2)
    first, _, third = (world.connect() for _ in range(3))
    assert third.aborted
    first.get_protocol().connection_lost(None)
    assert not world.connect().aborted


def test_a_health_check_speaks_for_the_proxy() -> None:
    """PRX-02: LOCAL: the connection is the proxy's own, with its own address."""
    world = World()
    wire = world.connect()
    assert said(wire, LOCAL2).startswith(b"220 ")
    assert world.arrivals == [Arrival("10.0.0.9", 50000, "", "version 2 from 10.0.0.9, for itself")]


@pytest.mark.parametrize("octets", [b"PROXY UNKNOWN\r\n", UNIX2])
def test_a_client_without_an_address_has_no_rights_by_network(octets: bytes) -> None:
    """PRX-02: UNKNOWN and UNIX: the proxy's address is not the client's, and must not let it relay."""
    world = World()
    wire = world.connect()
    assert said(wire, octets).startswith(b"220 ")
    (found,) = world.arrivals
    assert (found.address, found.port, found.via) == ("", 0, "10.0.0.9")


def test_an_open_port_is_looked_at_without_a_word() -> None:
    """A check that connects and closes leaves no event and nothing behind."""
    world = World()
    wire = world.connect()
    wire.get_protocol().connection_lost(None)
    world.loop.advance(10)
    assert world.porch.waiting == 0
    assert world.events == []


def test_refusals_are_told_in_sums() -> None:
    """FLD-12: a flood of refused connections writes one event in ten seconds, with their number."""
    world = World()
    for _ in range(100):
        world.connect(("11.0.0.9", 50000))
    assert [event["count"] for event in world.events] == [1]
    world.loop.advance(10)
    world.connect(("11.0.0.9", 50000))
    assert [event["count"] for event in world.events] == [1, 100]
    assert world.porch.refusals == 101


def test_closing_lets_nobody_wait() -> None:
    """A listener that stops closes connections that have not said whose they are: nobody was greeted."""
    world = World()
    wire = world.connect()
    world.porch.close()
    assert wire.aborted
    assert world.porch.waiting == 0


def test_a_session_that_is_turned_away_hears_why() -> None:
    """Limits count the client of the header; a full listener says 421 as without a proxy."""
    world = World()
    world.talk.home.opened = lambda connection, known: False  # type: ignore[method-assign]
    wire = world.connect()
    assert said(wire, HEADER + b"EHLO x\r\n").startswith(b"421 4.3.2 ")
    assert wire.closed
