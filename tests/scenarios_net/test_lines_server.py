"""The single lines of `tests/scenarios/lines.table`, on every kind of listener of a real server."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.scenarios.script import Line, read_lines

from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import KINDS, ScenarioServer

TABLE = Path(__file__).parents[1] / "scenarios" / "lines.table"
LINES = read_lines(TABLE)
# what a line is about does not exist, or is another thing, on these kinds
_GREETINGS = ("EHLO", "HELO")


def _cases() -> Iterator[object]:
    for kind in KINDS:
        for line in LINES:
            if kind == "lmtp" and line.said.startswith(_GREETINGS):
                continue
            # whoever has authenticated has said EHLO
            if kind == "submission" and not line.after:
                continue
            yield pytest.param(line, kind, id=f"{kind}, line {line.line}: {line.said[:50]}")


@pytest.mark.parametrize(("line", "kind"), list(_cases()))
def test_a_line_gets_its_reply(line: Line, kind: str, real_server: ScenarioServer, next_hop: NextHop) -> None:
    """The reply is as written, on every kind of listener, and the session goes on (unless it is 421) with nothing stored."""
    before = len(next_hop.arrived)
    with SocketEndpoint(real_server.address[kind], next_hop, kind=kind) as client:
        assert (client.reply() or "").startswith("220")
        for said in line.after:
            assert client.say(said.replace("EHLO", "LHLO") if kind == "lmtp" else said).startswith("250")
        client.send(line.octets)
        reply = client.reply()
        assert reply is not None
        assert any(fnmatchcase(reply, each.replace("[", "[[]")) for each in line.replies), reply
        if reply.startswith("421"):
            assert client.closed()
        else:
            assert client.say("NOOP").startswith("250")
            client.end()
            assert client.reply() is None
    assert len(next_hop.arrived) == before


def test_the_table_is_large_and_has_no_line_twice() -> None:
    """At least 250 lines, on seven kinds of listeners: what a postmaster adds is tried on each."""
    assert len(LINES) >= 250
    assert len({(line.after, line.said) for line in LINES}) == len(LINES)
