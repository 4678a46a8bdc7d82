"""Replies that are written together: none is late, none is lost, none overtakes another."""

from __future__ import annotations

from typing import Any

import pytest
from sessionkit import Dialogue, SteppedLoop

from upesi.listener.outbox import Outbox


class Loop(SteppedLoop):
    """One that keeps what it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[dict[str, Any]] = []

    def call_exception_handler(self, problem: dict[str, Any]) -> None:
        self.problems.append(problem)


class Sender:
    """Notes when it was told to write."""

    def __init__(self, log: list[str], name: str, error: Exception | None = None) -> None:
        self.log, self.name, self.error = log, name, error

    def flush(self) -> None:
        self.log.append(self.name)
        if self.error is not None:
            raise self.error

    def abort(self) -> None:
        self.log.append(f"{self.name} aborted")


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def outbox(loop: Loop) -> Outbox:
    return Outbox(loop)  # type: ignore[arg-type]


def later(talk: Dialogue, outbox: Outbox) -> Dialogue:
    """Let the replies of `talk` wait in `outbox`."""
    talk.home.outbox = outbox  # type: ignore[assignment]
    return talk


def test_all_that_were_answered_are_written_to_in_the_loops_next_turn(loop: Loop, outbox: Outbox) -> None:
    """Nobody is written to before the turn of the loop in which the octets came is over, and then everybody in their order."""
    log: list[str] = []
    for name in "abc":
        outbox.add(Sender(log, name))
    assert log == []
    assert len(loop.soon) == 1
    loop.turn()
    assert log == ["a", "b", "c"]
    outbox.add(Sender(log, "d"))
    loop.turn()
    assert log[3:] == ["d"]


def test_nobody_waits_for_more_than_thirty_one_others(loop: Loop, outbox: Outbox) -> None:
    """What one turn of the loop has read does not decide how late the first of its replies is."""
    log: list[str] = []
    for number in range(100):
        outbox.add(Sender(log, str(number)))
    assert len(log) == 96
    loop.turn()
    assert log == [str(number) for number in range(100)]


def test_one_reply_that_cannot_be_written_holds_up_no_other(loop: Loop, outbox: Outbox) -> None:
    """An exception ends the connection that it comes from, and is told."""
    log: list[str] = []
    outbox.add(Sender(log, "a", RuntimeError("closed")))
    outbox.add(Sender(log, "b"))
    loop.turn()
    assert log == ["a", "a aborted", "b"]
    assert len(loop.problems) == 1


def test_replies_wait_for_the_turn_of_the_loop_and_go_out_in_one_write(loop: Loop, outbox: Outbox) -> None:
    """RFC 2920 section 3.1: what was answered in one turn leaves together, even where it came in pieces."""
    talk = later(Dialogue(loop=loop), outbox)
    talk.hello()
    before = talk.transport.writes
    talk.connection.data_received(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@exa")
    talk.connection.data_received(b"mple.net>\r\n")
    assert talk.transport.writes == before
    assert [line[:3] for line in talk.heard()] == ["250", "250"]
    assert talk.transport.writes == before + 1


def test_the_last_words_come_behind_what_waits(loop: Loop, outbox: Outbox) -> None:
    """RFC 5321 section 3.8: a 421 overtakes no reply, and the connection is closed behind both."""
    talk = later(Dialogue(loop=loop), outbox)
    talk.hello()
    talk.connection.data_received(b"NOOP\r\n")
    talk.connection.evict()
    assert [line[:3] for line in talk.heard()] == ["250", "421"]
    assert talk.transport.ended


def test_a_client_that_is_gone_is_written_to_no_more(loop: Loop, outbox: Outbox) -> None:
    """What waited for a connection that was lost meanwhile is forgotten."""
    talk = later(Dialogue(loop=loop), outbox)
    talk.hello()
    before = talk.transport.writes
    talk.connection.data_received(b"NOOP\r\n")
    talk.hang_up()
    loop.turn()
    assert talk.transport.writes == before
