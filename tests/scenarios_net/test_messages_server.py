"""The messages of `tests/scenarios/messages.table`, on every kind of listener of a real server, with what arrives at its next hop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.scenarios.script import Line, read_lines

from integration.messages import without_trace
from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import KINDS, ScenarioServer

TABLE = Path(__file__).parents[1] / "scenarios" / "messages.table"
MESSAGES = read_lines(TABLE)
# RFC 6409 section 8: what a submission server puts on top where it is missing
_ADDED = re.compile(rb"(?:(?:Date|From|Message-ID): [^\r\n]*\r\n)*")


def _cases() -> Iterator[object]:
    """Yield each message on each kind of listener, and once in chunks."""
    for kind, chunks in [*((kind, False) for kind in KINDS), ("smtp", True)]:
        for message in MESSAGES:
            way = "BDAT" if chunks else "DATA"
            yield pytest.param(message, kind, chunks, id=f"{kind}, {way}, line {message.line}")


@pytest.mark.parametrize(("message", "kind", "chunks"), list(_cases()))
def test_a_message_is_refused_as_written_or_arrives_as_it_is(
    message: Line, kind: str, chunks: bool, real_server: ScenarioServer, text_hop: NextHop
) -> None:
    """MSG-01, MSG-02, MSG-04, MSG-05, MSG-06, MSG-07, MSG-08, MSG-10, MSG-11, MSG-12, MSG-14, MSG-15, MSG-16, MSG-17, MSG-18: bounds
    are kept, and within them nothing of a message is changed, parsed or fetched on any kind of listener."""
    content = message.octets
    with SocketEndpoint(real_server.address[kind], text_hop, kind=kind) as client:
        assert (client.reply() or "").startswith("220")
        for said in message.after:
            assert client.say(said.replace("EHLO", "LHLO") if kind == "lmtp" else said).startswith("250"), said
        reply = _sent(client, content, chunks)
        assert any(fnmatchcase(reply, each.replace("[", "[[]")) for each in message.replies), reply
        assert client.say("NOOP").startswith("250")
    if reply.startswith("250"):
        arrived = without_trace(client.arrived().content)
        assert arrived.endswith(content)
        added = arrived[: len(arrived) - len(content)]
        if content.startswith((b" ", b"\t")):
            # it must not continue the field above it
            assert added.endswith(b"\r\n")
            added = added.removesuffix(b"\r\n")
        assert _ADDED.fullmatch(added) if kind == "submission" else added == b""
    else:
        assert client.accepted == []


def _sent(client: SocketEndpoint, content: bytes, chunks: bool) -> str:
    """Send the message in two chunks or by DATA; return the reply to its end."""
    if chunks:
        middle = len(content) // 2
        client.send(b"BDAT %d\r\n" % middle + content[:middle])
        client.send(b"BDAT %d LAST\r\n" % (len(content) - middle) + content[middle:])
        first = client.reply() or ""
        # a fault in the first chunk is said at once; then the second is refused for its hole
        reply = client.reply() or ""
        return reply if first.startswith("250") else _reset(client, first)
    assert client.say("DATA").startswith("354")
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    client.send(stuffed + b".\r\n")
    return client.reply() or ""


def _reset(client: SocketEndpoint, reply: str) -> str:
    assert client.say("RSET").startswith("250")
    return reply


def test_no_message_stands_in_the_table_twice() -> None:
    """What a postmaster adds is tried once on each kind of listener."""
    assert len({(message.after, message.said) for message in MESSAGES}) == len(MESSAGES)
