"""TLS between a socket and a protocol, without a socket."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlskit import Issued, Wire

from upesi.tls.contexts import client_context, server_context


@pytest.fixture(scope="module")
def server(issued: Issued) -> ssl.SSLContext:
    """The server's side."""
    return server_context(issued.both)


@pytest.fixture
def wire(server: ssl.SSLContext) -> Wire:
    """Two ends that have shaken hands."""
    wire = Wire(server).shake()
    assert wire.open
    return wire


def test_what_is_written_arrives(wire: Wire) -> None:
    """Octets go both ways as they are."""
    wire.client.tls.write(b"EHLO a\r\n")
    wire.run()
    wire.server.tls.write(b"250 hello\r\n")
    wire.run()
    assert (wire.server.owner.heard, wire.client.owner.heard) == (b"EHLO a\r\n", b"250 hello\r\n")


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_segments_make_no_difference(server: ssl.SSLContext, step: int) -> None:
    """TLS-09: a handshake and records that come octet by octet are the same as in one piece."""
    wire = Wire(server).shake(step)
    assert wire.open
    wire.client.tls.write(b"x" * 1000)
    wire.run(step)
    assert wire.server.owner.heard == b"x" * 1000


@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=4), st.integers(min_value=100, max_value=70_000))
def test_any_octets_in_any_pieces(server: ssl.SSLContext, sent: list[bytes], step: int) -> None:
    """Whatever is written, and however it is cut on the way: it comes out as it went in."""
    wire = Wire(server).shake()
    for data in sent:
        wire.client.tls.write(data)
    wire.run(step)
    assert wire.server.owner.heard == b"".join(sent)


def test_octets_that_were_read_before_belong_to_the_handshake(server: ssl.SSLContext) -> None:
    """What came behind a PROXY header, in the same segment, is the beginning of the handshake."""
    wire = Wire(server)
    wire.client.tls.begin()
    wire.server.tls.begin(wire.client.raw.taken())
    assert wire.run().open


def test_plain_text_is_no_handshake(server: ssl.SSLContext) -> None:
    """TLS-01: commands where a handshake is due end it, and none of them is ever delivered."""
    wire = Wire(server)
    wire.server.tls.begin(b"EHLO x\r\nMAIL FROM:<a@example.org>\r\n" + b"x" * 100)
    assert len(wire.server.owner.failed) == 1
    assert wire.server.raw.closed
    assert wire.server.owner.heard == b""
    wire.server.take(b"RCPT TO:<b@example.net>\r\n")
    assert wire.server.owner.heard == b""


def test_a_failure_is_told_to_both_sides(server: ssl.SSLContext) -> None:
    """The alert goes out before the connection closes, so that the peer knows why."""
    client = client_context(verify=True, system=False)
    wire = Wire(server, client, "mx.example.net").shake()
    assert wire.client.owner.failed
    assert wire.server.raw.closed or wire.server.owner.heard == b""


def test_nothing_is_written_before_the_handshake_is_over(server: ssl.SSLContext) -> None:
    """What a protocol says too early is dropped, never sent in clear."""
    wire = Wire(server)
    wire.server.tls.begin()
    wire.server.tls.write(b"220 hello\r\n")
    assert wire.server.raw.out == b""


def test_the_first_words_go_out_with_the_last_of_the_handshake(server: ssl.SSLContext) -> None:
    """What a protocol says as soon as it may costs no segment of its own."""
    wire = Wire(server)
    wire.client.owner.greeting = b"EHLO a\r\n"
    wire.server.tls.begin()
    wire.client.tls.begin()
    wire.server.take(wire.client.raw.taken())
    before = wire.client.raw.writes
    wire.client.take(wire.server.raw.taken())
    assert wire.client.raw.writes == before + 1
    assert wire.run().server.owner.heard == b"EHLO a\r\n"


def test_closing_says_so_to_the_peer(wire: Wire) -> None:
    """close_notify: the peer can tell an end from a cut."""
    wire.client.tls.close()
    assert wire.client.raw.closed
    wire.run()
    assert wire.server.owner.ends == 1
    assert wire.server.raw.closed


def test_half_closing_leaves_the_other_half(wire: Wire) -> None:
    """A protocol that wants to go on writing behind the peer's end may (CMD-24)."""
    wire.server.owner.stays_open = True
    wire.client.tls.write(b"DATA\r\n")
    wire.client.tls.write_eof()
    assert wire.client.raw.ended
    wire.run()
    assert wire.server.owner.ends == 1
    assert not wire.server.raw.closed
    wire.server.tls.write(b"354 go\r\n")
    assert wire.server.raw.out


def test_a_cut_is_an_end(wire: Wire) -> None:
    """TLS-10: a FIN without close_notify ends the input, once; what was incomplete stays so."""
    wire.client.tls.write(b"half a line")
    wire.run()
    assert wire.server.raw.protocol.eof_received() is False
    assert wire.server.raw.protocol.eof_received() is not None
    assert wire.server.owner.ends == 1
    assert wire.server.owner.heard == b"half a line"


def test_a_cut_during_the_handshake_fails_it(server: ssl.SSLContext) -> None:
    """TLS-06: who leaves in mid-handshake is told of as such."""
    wire = Wire(server)
    wire.server.tls.begin()
    wire.client.tls.begin()
    wire.server.take(wire.client.raw.taken()[:50])
    wire.server.raw.protocol.eof_received()
    assert wire.server.owner.failed == ["the other side left during the handshake"]


def test_a_damaged_record_ends_the_connection(wire: Wire) -> None:
    """TLS-09: what does not decrypt was forged or damaged; nothing of it or behind it is delivered."""
    wire.client.tls.write(b"MAIL FROM:<a@example.org>\r\n")
    octets = bytearray(wire.client.raw.taken())
    octets[-1] ^= 1
    wire.server.take(bytes(octets))
    assert wire.server.raw.closed
    assert wire.server.owner.heard == b""


def test_a_record_above_the_limit_ends_the_connection(wire: Wire) -> None:
    """TLS-09: a record that claims more than 16 kB and what encryption adds."""
    wire.server.take(b"\x17\x03\x03\x41\x01" + b"x" * 0x4101)
    assert wire.server.raw.closed
    assert wire.server.owner.heard == b""


async def test_records_of_one_octet_are_delivered_together(wire: Wire) -> None:
    """TLS-09: ten thousand records of one octet make no ten thousand calls of the session."""
    for _ in range(10_000):
        wire.client.tls.write(b"x")
    wire.run(step=65536)
    await _all_turns(wire)
    assert wire.server.owner.heard == b"x" * 10_000
    assert len(wire.server.owner.pieces) < 100


async def test_records_that_are_nearly_empty_let_others_have_their_turn(wire: Wire) -> None:
    """TLS-09: who sends overhead in the place of data is heard in small pieces, and read no further meanwhile."""
    for _ in range(10_000):
        wire.client.tls.write(b"x")
    wire.server.take(wire.client.raw.taken())
    assert len(wire.server.owner.heard) < 1500
    assert not wire.server.raw.reading
    await asyncio.sleep(0)
    assert len(wire.server.owner.heard) < 3000
    await _all_turns(wire)
    assert wire.server.owner.heard == b"x" * 10_000


async def test_what_waits_for_its_turn_waits_for_the_owner_too(wire: Wire) -> None:
    """TLS-09: an owner that reads no more gets nothing, and all of it in order when it reads on."""
    sent = b"".join(bytes([value % 251]) for value in range(5000))
    for value in sent:
        wire.client.tls.write(bytes([value]))
    wire.server.take(wire.client.raw.taken())
    wire.server.tls.pause_reading()
    heard = wire.server.owner.heard
    wire.client.tls.write(b"last")
    wire.server.take(wire.client.raw.taken())
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.server.owner.heard == heard
    wire.server.tls.resume_reading()
    await _all_turns(wire)
    assert wire.server.owner.heard == sent + b"last"


async def test_what_waits_for_its_turn_ends_with_the_connection(wire: Wire) -> None:
    """TLS-09: nothing is delivered behind the end."""
    for _ in range(5000):
        wire.client.tls.write(b"x")
    wire.server.take(wire.client.raw.taken())
    heard = wire.server.owner.heard
    wire.server.raw.protocol.connection_lost(None)
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.server.owner.heard == heard


def test_large_records_are_taken_in_one_go(wire: Wire) -> None:
    """A message in records of the usual size waits for nobody, however its segments are cut."""
    wire.client.tls.write(b"x" * 200_000)
    wire.run(step=70_001)
    assert wire.server.owner.heard == b"x" * 200_000
    assert wire.server.raw.reading


class _Updates:
    """A TLS session in which nothing comes but updates of keys."""

    def __init__(self, wire: Wire) -> None:
        self._incoming = wire.server.tls._incoming

    def read(self, _: int) -> bytes:
        self._incoming.read()
        raise ssl.SSLWantReadError

    def pending(self) -> int:
        return 0


def test_key_updates_without_end_are_cut(wire: Wire) -> None:
    """TLS-09: records that bring nothing at all end the connection; OpenSSL takes key updates without end."""
    cast("Any", wire.server.tls)._object = _Updates(wire)
    wire.server.take(b"u" * 120 * 1024, step=4096)
    assert not wire.server.raw.closed
    wire.server.take(b"u" * 8192, step=4096)
    assert wire.server.raw.closed


async def _all_turns(wire: Wire) -> None:
    """Run the loop until the server's end reads on."""
    for _ in range(1000):
        await asyncio.sleep(0)
        if wire.server.raw.reading:
            return
    raise AssertionError("it never read on")


def test_garbage_behind_the_end_is_bounded(wire: Wire) -> None:
    """Who goes on talking after having been sent away is cut off after a megabyte."""
    wire.server.tls.write_eof()
    wire.server.take(b"x" * 1_000_000)
    assert not wire.server.raw.aborted
    wire.server.take(b"x" * 100_000)
    assert wire.server.raw.aborted
    assert wire.server.owner.heard == b""


def test_buffers_stay_small(wire: Wire) -> None:
    """TLS-16: OpenSSL's buffers do not shrink, so they are never let grow: 4 kB at a time, whatever comes in."""
    seen: list[int] = []
    bio = wire.server.tls._incoming

    class Watched:
        """The buffer, noting how full it gets."""

        def write(self, data: bytes) -> int:
            count = bio.write(data)
            seen.append(bio.pending)
            return count

        @property
        def pending(self) -> int:
            return bio.pending

    wire.server.tls._incoming = cast("Any", Watched())
    wire.client.tls.write(b"x" * 1_000_000)
    wire.run(step=250_000)
    assert wire.server.owner.heard == b"x" * 1_000_000
    assert max(seen) <= 4096


def test_the_flow_is_controlled_below(wire: Wire) -> None:
    """Pausing, resuming, limits and aborts are the socket's."""
    tls, raw, owner = wire.server.tls, wire.server.raw, wire.server.owner
    tls.pause_reading()
    assert not raw.reading
    tls.resume_reading()
    assert tls.is_reading()
    tls.set_write_buffer_limits(high=10)
    assert raw.limits == (10, None)
    assert tls.get_write_buffer_size() == 0
    raw.protocol.pause_writing()
    raw.protocol.resume_writing()
    assert owner.paused == [True, False]
    assert tls.get_extra_info("peername") == ("192.0.2.1", 40000)
    assert tls.get_extra_info("ssl_object") is tls.tls
    assert not tls.is_closing()
    tls.abort()
    assert raw.aborted
    assert tls.is_closing()
    raw.protocol.connection_lost(None)
    raw.protocol.connection_lost(None)
    assert owner.lost == [None]


def test_nothing_is_written_behind_the_end(wire: Wire) -> None:
    """Behind close_notify there is no more."""
    wire.server.tls.write_eof()
    wire.server.raw.taken()
    wire.server.tls.write(b"250 too late\r\n")
    wire.server.tls.close()
    assert wire.server.raw.out == b""
