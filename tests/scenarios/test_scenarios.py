"""Runs every dialogue in this folder. An `Endpoint` is what it is run against; the one here has no socket."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import msgspec
import pytest
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

    def message(self) -> bytes | None:
        """Return the next stored message, without what the server added, None if there is none."""
        ...

    def closed(self) -> bool:
        """Whether the server has closed the connection."""
        ...


class MemoryEndpoint:
    """The protocol machine itself, with a policy that accepts."""

    def __init__(self, options: dict[str, str]) -> None:
        lmtp = options.pop("lmtp", "no") == "yes"
        limits = msgspec.to_builtins(LIMITS)
        for name, value in options.items():
            limits[name] = int(value) if value.isdigit() else value == "yes"
        self._acceptor = Acceptor(msgspec.convert(limits, ServerLimits), lmtp=lmtp)
        self._output = self._acceptor.output
        self._messages = iter(self._acceptor.messages)

    def send(self, octets: bytes) -> None:
        self._output += self._acceptor.feed(octets)

    def reply(self) -> str | None:
        lines = []
        while self._output:
            line, _, self._output = self._output.partition(b"\r\n")
            lines.append(line.decode())
            if line[3:4] != b"-":
                return " | ".join(lines)
        return None

    def message(self) -> bytes | None:
        return next(self._messages, None)

    def closed(self) -> bool:
        return self._acceptor.connection.state is State.CLOSED


def play(scenario: Scenario, endpoint: Endpoint) -> None:
    """Run a dialogue and hold every expectation in it."""
    for step in scenario.steps:
        _play_step(step, endpoint)
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


def _all() -> Iterator[object]:
    for path in sorted(FOLDER.glob("*.smtp")):
        for scenario in read_scenarios(path):
            yield pytest.param(scenario, id=f"{path.stem}: {scenario.title}")


@pytest.mark.parametrize("scenario", list(_all()))
def test_dialogue_goes_as_written(scenario: Scenario) -> None:
    """Every expectation of the dialogue holds, and nothing else is said or stored."""
    play(scenario, MemoryEndpoint(dict(scenario.options)))


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
