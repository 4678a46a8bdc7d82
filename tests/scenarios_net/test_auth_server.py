"""The exchanges of `tests/scenarios/auth.table` over the wire, on every kind of listener of a real server."""

from __future__ import annotations

import pytest
from _pytest.mark import ParameterSet
from tests.scenarios.script import Line
from tests.scenarios.test_auth_table import exchanges, fits, said

from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import KINDS, ScenarioServer

# under TLS, and not authenticated on the way in as on "submission"
SECURE = ("starttls", "implicit")
# FRM-01: however it is cut, it says the same. Longer exchanges are cut by the kernel, and by the tests of the protocol
_SHORT = 40


def _cases() -> list[ParameterSet]:
    return [
        pytest.param(parameter.values[0], kind, id=f"{kind}, {parameter.id}")
        for kind in KINDS
        for parameter in exchanges()
        if kind != "submission"
    ]


def _steps(line: Line, kind: str) -> list[bytes]:
    before = [part.encode() + b"\r\n" for part in line.after]
    return [
        octets.replace(b"EHLO ", b"LHLO ").replace(b"HELO ", b"LHLO ") if kind == "lmtp" else octets
        for octets in (*before, *said(line.said))
    ]


@pytest.mark.parametrize(("line", "kind"), _cases())
def test_the_exchange_ends_as_the_table_says(
    line: Line, kind: str, real_server: ScenarioServer, next_hop: NextHop
) -> None:
    """As written under TLS; elsewhere AUT-01: no challenge and no success. The session goes on, and nothing is stored."""
    octets = kind == "implicit" and len(line.said) < _SHORT
    with SocketEndpoint(real_server.address[kind], next_hop, octets=octets, kind=kind) as client:
        assert (client.reply() or "").startswith("220")
        reply: str | None = None
        for step in _steps(line, kind):
            client.send(step)
            reply = client.reply()
            assert reply is not None
            if kind not in SECURE:
                assert not reply.startswith(("334", "235"))
        if kind in SECURE:
            assert fits(reply or "", line), reply
            if (reply or "").startswith("334"):
                assert client.say("*").startswith("501")
        assert client.say("NOOP").startswith("250")
    assert client.accepted == []
