"""The dialogues of `tests/scenarios/` against a real server, with what arrives at its next hop."""

from __future__ import annotations

import pytest
from tests.scenarios.script import Scenario
from tests.scenarios.test_scenarios import in_one_piece, play, scenarios

from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import ScenarioServer

# other options want another configuration; those dialogues are run in memory
OPTIONS = frozenset({"lmtp"})
CUTS = ("whole", "octets", "one piece")


def _hop_for(scenario: Scenario, hop: NextHop) -> None:
    """Let the next hop offer what the dialogue's messages need, and no more, so that text goes by DATA."""
    binary = any("BINARYMIME" in step.text for step in scenario.steps)
    hop.offer("8BITMIME", "SMTPUTF8", *(("CHUNKING", "BINARYMIME") if binary else ()))


def _run(scenario: Scenario, server: ScenarioServer, hop: NextHop, cut: str = "whole") -> None:
    _hop_for(scenario, hop)
    before = len(hop.arrived)
    if cut == "one piece":
        scenario = in_one_piece(scenario)
    listener = "lmtp" if scenario.options.get("lmtp") == "yes" else "smtp"
    with SocketEndpoint(server.address[listener], hop, octets=cut == "octets") as endpoint:
        play(scenario, endpoint)
    stored = sum(step.mark == "M:" for step in scenario.steps)
    assert len(hop.arrived) == before + stored
    for arrived in hop.arrived[before:]:
        assert "evil" not in arrived.reverse_path


@pytest.mark.parametrize("scenario", list(scenarios("[!s]*", OPTIONS)) + list(scenarios("sessions", OPTIONS)))
def test_dialogue_goes_as_written_over_a_socket(
    scenario: Scenario, real_server: ScenarioServer, next_hop: NextHop
) -> None:
    """Every expectation of the dialogue holds against the real server, and the next hop gets the messages it names."""
    _run(scenario, real_server, next_hop)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("scenario", list(scenarios("smuggling", OPTIONS)))
def test_nothing_is_smuggled_to_the_next_hop(
    scenario: Scenario, cut: str, real_server: ScenarioServer, next_hop: NextHop
) -> None:
    """FRM-01..09, FRM-10, FRM-15: however it is cut, the next hop gets exactly the message that was accepted, octet for octet."""
    _run(scenario, real_server, next_hop, cut)
