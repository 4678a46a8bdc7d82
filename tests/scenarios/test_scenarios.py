"""Runs every dialogue in this folder. An `Endpoint` is what it is run against; the one here has no socket.

`tests/scenarios_net/test_scenarios_server.py` runs them against a real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
from _pytest.mark import ParameterSet
from tests.scenarios.acceptor import LIMITS, Acceptor
from tests.scenarios.script import Scenario, Step, read_scenarios

from upesi.protocol.smtp.server import ServerLimits
from upesi.protocol.smtp.states import State

FOLDER = Path(__file__).parent


class Endpoint(Protocol):
    """A server under test, seen from a client. Over a socket, each method may wait."""

    def send(self, octets: bytes) -> None:
        """Write octets."""
        ...

    def reply(self) -> str | None:
        """Return the next reply, lines joined by " | ", None if none comes."""
        ...

    def end(self) -> None:
        """Close the client's side: nothing more will be sent."""
        ...

    def message(self) -> bytes | None:
        """Return the next stored message, without what the server added, None if there is none."""
        ...

    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        ...


class MemoryEndpoint:
    """The protocol machine itself, with a policy that accepts. With `octets` it is fed one at a time."""

    def __init__(self, options: dict[str, str], *, octets: bool = False) -> None:
        lmtp = options.pop("lmtp", "no") == "yes"
        limits = msgspec.to_builtins(LIMITS)
        for name, value in options.items():
            limits[name] = int(value) if value.isdigit() else value == "yes"
        self._acceptor = Acceptor(msgspec.convert(limits, ServerLimits), lmtp=lmtp)
        self._output = self._acceptor.output
        self._messages = iter(self._acceptor.messages)
        self._octets = octets

    def send(self, octets: bytes) -> None:
        segments = [octets[at : at + 1] for at in range(len(octets))] if self._octets else [octets]
        self._output += self._acceptor.feed(*segments)

    def reply(self) -> str | None:
        lines = []
        while self._output:
            line, _, self._output = self._output.partition(b"\r\n")
            lines.append(line.decode())
            if line[3:4] != b"-":
                return " | ".join(lines)
        return None

    def end(self) -> None:
        self._output += self._acceptor.eof()

    def message(self) -> bytes | None:
        return next(self._messages, None)

    def closed(self) -> bool:
        return self._acceptor.connection.state is State.CLOSED


def play(scenario: Scenario, endpoint: Endpoint) -> None:
    """Run a dialogue and hold every expectation in it."""
    for step in scenario.steps:
        _play_step(step, endpoint)
    endpoint.end()
    assert endpoint.reply() is None, "a reply that the dialogue does not name"
    assert endpoint.message() is None, "a message that the dialogue does not name"


def _play_step(step: Step, endpoint: Endpoint) -> None:
    where = f"line {step.line}: "
    if step.mark in ("C:", "C>"):
        endpoint.send(step.octets)
    elif step.mark == "S:":
        reply = endpoint.reply()
        assert reply is not None, where + "no reply"
        assert fnmatchcase(reply, step.text.replace("[", "[[]")), where + f"got {reply!r}"
    elif step.mark == "M:":
        assert endpoint.message() == step.octets, where + "another message was stored"
    else:
        assert endpoint.closed(), where + "still open"


def scenarios(pattern: str = "*", options: frozenset[str] | None = None) -> Iterator[ParameterSet]:
    """Yield the dialogues of the files that match as parameters of a test; with `options`, those that need no others."""
    for path in sorted(FOLDER.glob(f"{pattern}.smtp")):
        for scenario in read_scenarios(path):
            if options is None or options >= scenario.options.keys():
                yield pytest.param(scenario, id=f"{path.stem}: {scenario.title}")


def in_one_piece(scenario: Scenario) -> Scenario:
    """Return the dialogue with all that the client says in one piece in front."""
    said = b"".join(step.octets for step in scenario.steps if step.mark in ("C:", "C>"))
    heard = [step for step in scenario.steps if step.mark not in ("C:", "C>")]
    everything = Step("C>", "".join(f"\\x{octet:02x}" for octet in said), scenario.steps[0].line)
    return Scenario(scenario.title, [everything, *heard], scenario.options)


@pytest.mark.parametrize("scenario", list(scenarios()))
def test_dialogue_goes_as_written(scenario: Scenario) -> None:
    """Every expectation of the dialogue holds, and nothing else is said or stored."""
    play(scenario, MemoryEndpoint(dict(scenario.options)))


@pytest.mark.parametrize("scenario", list(scenarios()))
def test_dialogue_goes_the_same_octet_by_octet(scenario: Scenario) -> None:
    """FRM-10: one octet a segment, the same replies and messages."""
    play(scenario, MemoryEndpoint(dict(scenario.options), octets=True))


@pytest.mark.parametrize("scenario", list(scenarios("smuggling")))
def test_smuggling_dialogue_goes_the_same_in_one_segment(scenario: Scenario) -> None:
    """FRM-10: the whole session in one segment, the same replies and messages."""
    play(in_one_piece(scenario), MemoryEndpoint(dict(scenario.options)))


def test_wrong_expectation_fails() -> None:
    """The runner can fail: a reply, a message or a close that is not as written is an error."""
    for step in (Step("S:", "550 *", 1), Step("M:", "x", 1), Step("X:", "", 1)):
        with pytest.raises(AssertionError):
            play(Scenario("wrong", [step]), MemoryEndpoint({}))
    with pytest.raises(AssertionError, match="does not name"):
        play(Scenario("silent"), MemoryEndpoint({}))


def test_line_that_is_not_understood_is_named(tmp_path: Path) -> None:
    """A slip in a dialogue is found when it is read, with its line."""
    script = tmp_path / "bad.smtp"
    script.write_text("== title\nS 220\n")
    with pytest.raises(ValueError, match=r"bad\.smtp:2"):
        read_scenarios(script)
