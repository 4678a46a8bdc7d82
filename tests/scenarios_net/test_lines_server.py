"""The single lines of `tests/scenarios/lines.table`, on every kind of listener of a real server."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from tests.scenarios.script import Line, read_lines

from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import KINDS, ScenarioServer

TABLE = Path(__file__).parents[1] / "scenarios" / "lines.table"
LINES = read_lines(TABLE)
CONTEXTS = list(dict.fromkeys(line.after for line in LINES))
_GREETINGS = ("EHLO", "HELO")


def _suits(line: Line, kind: str) -> bool:
    """Whether what a line is about exists, and is the same thing, on a kind of listener."""
    if kind == "lmtp":
        return not line.said.startswith(_GREETINGS)
    # whoever has authenticated has said EHLO
    return kind != "submission" or bool(line.after)


class _Session:
    """One session after another on one listener; a new one where the last has ended."""

    def __init__(self, server: ScenarioServer, hop: NextHop, kind: str) -> None:
        self._open = lambda: SocketEndpoint(server.address[kind], hop, kind=kind)
        self._lmtp = kind == "lmtp"
        self._client: SocketEndpoint | None = None
        self.accepted: list[str] = []

    def trouble(self, line: Line) -> str:
        """Say the line where it belongs; return what is wrong, "" if nothing is. The session must go on unless the reply is 421."""
        client = self._client or self._begin()
        for said in line.after:
            reply = client.say(said.replace("EHLO", "LHLO") if self._lmtp else said)
            if not reply.startswith("250"):
                return f"line {line.line}: {said}: {reply}"
        client.send(line.octets)
        reply = client.reply() or "nothing"
        wrong = not any(fnmatchcase(reply, each.replace("[", "[[]")) for each in line.replies)
        if reply.startswith("421"):
            assert client.closed()
            self.end()
        elif not client.say("RSET").startswith("250"):
            return f"line {line.line}: {line.said!r} spoils the session"
        return f"line {line.line}: {line.said!r} got {reply}" if wrong else ""

    def _begin(self) -> SocketEndpoint:
        client = self._client = self._open()
        assert (client.reply() or "").startswith("220")
        return client

    def end(self) -> None:
        """Leave."""
        if self._client is not None:
            self.accepted += self._client.accepted
            self._client.leave()
            self._client = None


@pytest.mark.parametrize("line", [pytest.param(line, id=f"line {line.line}: {line.said[:50]}") for line in LINES])
def test_a_line_gets_its_reply(line: Line, real_server: ScenarioServer, next_hop: NextHop) -> None:
    """In a session of its own the reply is as written, and nothing is stored."""
    session = _Session(real_server, next_hop, "smtp")
    assert not session.trouble(line)
    session.end()
    assert session.accepted == []


@pytest.mark.parametrize("after", CONTEXTS, ids=lambda after: ", ".join(after) or "at once")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "smtp"])
def test_lines_get_their_replies_on_every_kind_of_listener(
    kind: str, after: tuple[str, ...], real_server: ScenarioServer, next_hop: NextHop
) -> None:
    """One behind the other in as few sessions as may be, every line of the table gets its reply, and nothing is stored."""
    session = _Session(real_server, next_hop, kind)
    lines = [line for line in LINES if line.after == after and _suits(line, kind)]
    assert not [trouble for line in lines if (trouble := session.trouble(line))]
    session.end()
    assert session.accepted == []


def test_the_table_is_large_and_has_no_line_twice() -> None:
    """At least 250 lines, on seven kinds of listeners: what a postmaster adds is tried on each."""
    assert len(LINES) >= 250
    assert len({(line.after, line.said) for line in LINES}) == len(LINES)
