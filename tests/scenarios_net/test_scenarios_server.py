"""The dialogues of `tests/scenarios/` against a real server, with what arrives at its next hop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.scenarios.script import Scenario
from tests.scenarios.test_scenarios import in_one_piece, play, scenarios

from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import KINDS, ScenarioServer

# other options want another configuration; those dialogues are run in memory
OPTIONS = frozenset({"lmtp"})
# those that are not about content begin before EHLO, and a submission session has said it to get where mail can be sent
UNSUITED = "submission"
CUTS = ("whole", "octets", "one piece")


def _hop_for(scenario: Scenario, hop: NextHop) -> None:
    """Let the next hop offer what the dialogue's messages need, and no more, so that text goes by DATA."""
    binary = any("BINARYMIME" in step.text for step in scenario.steps)
    hop.offer("8BITMIME", "SMTPUTF8", *(("CHUNKING", "BINARYMIME") if binary else ()))


def _run(scenario: Scenario, server: ScenarioServer, hop: NextHop, kind: str, cut: str = "whole") -> None:
    _hop_for(scenario, hop)
    before = len(hop.arrived)
    if cut == "one piece":
        scenario = in_one_piece(scenario)
    with SocketEndpoint(server.address[kind], hop, octets=cut == "octets", kind=kind) as endpoint:
        play(scenario, endpoint)
    stored = sum(step.mark == "M:" for step in scenario.steps)
    assert len(endpoint.accepted) == stored
    # each of them once, and whatever else has come since was a message of ours too, not a part of one
    assert all(len(hop.got(id)) == 1 for id in endpoint.accepted)
    for arrived in hop.arrived[before:]:
        assert arrived.id or not arrived.reverse_path
        assert "evil" not in arrived.reverse_path


def _cases(pattern: str, without: str = "") -> Iterator[object]:
    """Yield each dialogue with each kind of listener on which it can be held."""
    for parameter in scenarios(pattern, OPTIONS):
        (scenario,) = parameter.values
        assert isinstance(scenario, Scenario)
        lmtp = scenario.options.get("lmtp") == "yes"
        for kind in KINDS:
            if (kind == "lmtp") is lmtp and kind != without:
                yield pytest.param(scenario, kind, id=f"{kind}, {parameter.id}")


@pytest.mark.parametrize(("scenario", "kind"), [*_cases("[!s]*", UNSUITED), *_cases("sessions", UNSUITED)])
def test_dialogue_goes_as_written_over_a_socket(
    scenario: Scenario, kind: str, real_server: ScenarioServer, next_hop: NextHop
) -> None:
    """Every expectation of the dialogue holds on every kind of listener, and the next hop gets the messages it names."""
    _run(scenario, real_server, next_hop, kind)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize(("scenario", "kind"), list(_cases("smuggling")))
def test_nothing_is_smuggled_to_the_next_hop(
    scenario: Scenario, kind: str, cut: str, real_server: ScenarioServer, next_hop: NextHop
) -> None:
    """FRM-01..09, FRM-10, FRM-15, FRM-26: however it is cut, the next hop gets exactly the message that was accepted, octet for octet."""
    _run(scenario, real_server, next_hop, kind, cut)
