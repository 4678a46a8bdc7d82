"""The judge of the crash tests is judged: what it lets pass and what it does not."""

from __future__ import annotations

import json

import pytest
from spool_oracle import Oracle

_ONE, _NOTICE = "1" * 32, "2" * 32
_ACCEPTED = [["ready"], ["try-accept", _ONE, "", ["r0"]], ["ok-accept", _ONE]]
_END = [["try-end", 1, _ONE, ["r0"], _NOTICE, ""]]


def _heard(lines: list[list[object]], believed: int | None = None) -> Oracle:
    oracle = Oracle()
    written = [json.dumps(line).encode() + b"\n" for line in lines]
    oracle.hear(b"".join(written), None if believed is None else len(b"".join(written[:believed])))
    return oracle


@pytest.mark.parametrize("there", [{_ONE: {"r0"}}, {_NOTICE: {"r0"}}])
def test_an_end_that_nobody_was_told_of_may_have_been_or_not(there: dict[str, set[str]]) -> None:
    """Its message is there, or its notice."""
    _heard(_ACCEPTED + _END).settle(there)


@pytest.mark.parametrize("there", [{}, {_ONE: {"r0"}, _NOTICE: {"r0"}}])
def test_an_end_is_whole(there: dict[str, set[str]]) -> None:
    """Neither both nor none of them is."""
    with pytest.raises(AssertionError):
        _heard(_ACCEPTED + _END).settle(there)


@pytest.mark.parametrize("there", [{}, {_ONE: {"r0"}}, {_NOTICE: {"r0"}}])
def test_what_was_acknowledged_without_power_may_have_become_anything(there: dict[str, set[str]]) -> None:
    """Also the notice of its end, of which nobody was told."""
    _heard(_ACCEPTED + _END, believed=2).settle(there)


def test_what_was_acknowledged_must_be_there() -> None:
    """A message that was taken, and the notice of an end that was told."""
    with pytest.raises(AssertionError, match="lost"):
        _heard(_ACCEPTED).settle({})
    with pytest.raises(AssertionError, match="lost"):
        _heard([*_ACCEPTED, *_END, ["ok-end", 1]]).settle({})
    with pytest.raises(AssertionError, match="ended or refused"):
        _heard([*_ACCEPTED, *_END, ["ok-end", 1]]).settle({_ONE: {"r0"}, _NOTICE: {"r0"}})
