"""The judge of the crash tests is judged: what it lets pass and what it does not."""

from __future__ import annotations

import json

import pytest
from spool_oracle import Oracle

_ONE, _NOTICE = "1" * 32, "2" * 32
_ACCEPTED = [["ready"], ["try-accept", _ONE, "", ["r0"]], ["ok-accept", _ONE]]
_END = [["try-end", 1, _ONE, ["r0"], _NOTICE, ""]]
# sent while it was synced: two deliveries, of which the one ended with a notice and the other without
_OTHER = [["try-end", 2, _ONE, ["r1"], None, ""]]
_BEGUN = [["ready"], ["try-accept", _ONE, "", ["r0", "r1"]], *_END, *_OTHER]
# all of it was taken
_TAKEN = [["ready"], ["try-accept", _ONE, "", ["r0"]], ["try-end", 1, _ONE, ["r0"], None, ""], ["ok-take", _ONE]]


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


@pytest.mark.parametrize("there", [{}, {_ONE: {"r0"}}])
@pytest.mark.parametrize("end", [[], [["ok-accept", _ONE]], [["no-accept", _ONE]]])
def test_what_its_receivers_have_may_be_there_or_not(end: list[list[object]], there: dict[str, set[str]]) -> None:
    """Before its end is durable; whatever the disk said of the message itself (ADR 7)."""
    _heard(_TAKEN + end).settle(there)


def test_what_its_receivers_have_stays_ended() -> None:
    """Once its end is durable it must not be sent again, and what is durable is so with all that lies in front of it."""
    for end in [["ok-end", 1]], [["ok-accept", _ONE], ["ok-end", 1]], [["ok-end", 1], ["ok-accept", _ONE]]:
        _heard(_TAKEN + end).settle({})
        with pytest.raises(AssertionError, match="ended or refused"):
            _heard(_TAKEN + end).settle({_ONE: {"r0"}})


def test_nothing_is_taken_that_has_no_end() -> None:
    """The driver would not keep its word."""
    with pytest.raises(AssertionError, match="not by all"):
        _heard([*_BEGUN[:3], ["ok-take", _ONE]])


@pytest.mark.parametrize(
    "there",
    [{}, {_ONE: {"r0", "r1"}}, {_ONE: {"r0"}}, {_ONE: {"r1"}, _NOTICE: {"r0"}}, {_NOTICE: {"r0"}}],
    ids=["never", "whole", "the other ended", "the one ended", "both ended"],
)
def test_what_was_begun_may_be_at_any_step(there: dict[str, set[str]]) -> None:
    """Nobody knows that it is durable, nor how far its ends are."""
    _heard(_BEGUN).settle(there)


@pytest.mark.parametrize("there", [{_ONE: {"r1"}}, {_ONE: {"r0", "r1"}, _NOTICE: {"r0"}}])
def test_what_was_begun_is_whole_with_its_ends(there: dict[str, set[str]]) -> None:
    """An end without its notice, and a notice without its end."""
    with pytest.raises(AssertionError):
        _heard(_BEGUN).settle(there)


def test_a_part_that_nobody_ended_must_be_there_with_the_others_end() -> None:
    """Both or none: a notice whose message is missing, half a message, and what a durable end lies behind."""
    for there in {_NOTICE: {"r0"}}, {_ONE: {"r0"}}:
        with pytest.raises(AssertionError):
            _heard(_BEGUN[:3]).settle(there)
    with pytest.raises(AssertionError, match="lost"):
        _heard([*_BEGUN[:3], ["ok-end", 1]]).settle({_NOTICE: {"r0"}})


def test_what_was_begun_and_refused_is_taken_back() -> None:
    """All that has not ended of it, or nothing of that; a notice may outlive it. What could not be ended any more was gone."""
    for there in {}, {_NOTICE: {"r0"}}, {_ONE: {"r1"}, _NOTICE: {"r0"}}, {_ONE: {"r0", "r1"}}:
        _heard([*_BEGUN, ["no-accept", _ONE]]).settle(there)
    stale = [*_BEGUN, ["no-accept", _ONE], ["stale", 2], ["ok-end", 2]]
    _heard(stale).settle({})
    with pytest.raises(AssertionError, match="refused, but there"):
        _heard(stale).settle({_ONE: {"r0", "r1"}})
    assert _heard(stale).stale == 0
    assert _heard([*_BEGUN, ["ok-accept", _ONE], ["stale", 2]]).stale == 1
