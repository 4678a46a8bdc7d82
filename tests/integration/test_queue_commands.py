"""What operators do with queued mail, through the command line and a running server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, run_upesi, wait_until

LATER = "[delivery]\nretry = ['1h']\njitter = 0.0\n"


@pytest.fixture
def deferring(upesi_server: MakeServer, receiver: Receiver) -> UpesiServer:
    """A server with two messages in its queue that the next hop has put off: to one@example.net and to two@example.org."""
    receiver.on_rcpt = lambda path: b"451 4.7.1 Greylisted, try later"
    server = upesi_server(route_to(receiver.port) + LATER)
    server.send(numbered(1), to="one@example.net")
    server.send(numbered(2), to="two@example.org")
    wait_until(lambda: [row["attempts"] for row in queued(server)] == [1, 1], what="the first attempts")
    return server


def queued(server: UpesiServer, *selection: str) -> list[dict[str, object]]:
    """Return the deliveries that `upesi queue list` shows, in the order of their recipients."""
    rows = json.loads(server.command("queue", "list", "--json", *selection))
    return sorted(rows, key=lambda row: row["recipients"])


def message_to(server: UpesiServer, domain: str) -> str:
    """Return the id of the message for `domain`."""
    (row,) = queued(server, "--domain", domain)
    return str(row["message"])


def test_list_shows_what_waits_and_selects(deferring: UpesiServer) -> None:
    """Q8: each line has recipients, attempts, and the reply that put it off; selectors narrow it."""
    rows = queued(deferring)
    assert [row["recipients"] for row in rows] == [["one@example.net"], ["two@example.org"]]
    assert all("Greylisted" in json.dumps(row) for row in rows)
    assert [row["recipients"] for row in queued(deferring, "--domain", "example.org")] == [["two@example.org"]]


def test_why_gives_the_reason_and_the_next_try(deferring: UpesiServer) -> None:
    """Q8: every queued message can say why it is waiting, since when, and when it will next be tried."""
    answer = deferring.command("queue", "why", message_to(deferring, "example.net"))
    assert "4.7.1" in answer
    assert "Greylisted" in answer
    assert "one@example.net" in answer


def test_held_mail_stays_until_it_is_released(deferring: UpesiServer, receiver: Receiver) -> None:
    """What is held is not sent even by `retry`; released, it goes."""
    deferring.command("queue", "hold", "--domain", "example.net", "--yes")
    assert [row["state"] for row in queued(deferring)] == ["held", "ready"]
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok"
    deferring.command("queue", "retry", "--domain", "example.org", "--yes")
    assert number_of(receiver.wait_for(1)[0].data) == 2
    deferring.command("queue", "release", "--domain", "example.net", "--yes")
    deferring.command("queue", "retry", "--domain", "example.net", "--yes")
    assert {number_of(message.data) for message in receiver.wait_for(2)} == {1, 2}
    wait_until(lambda: queued(deferring) == [], what="an empty queue")


def test_cancelled_mail_is_gone_and_the_history_says_so(deferring: UpesiServer, receiver: Receiver) -> None:
    """Q1: an operator's cancel ends a delivery, with a record of it, and touches no other."""
    message = message_to(deferring, "example.net")
    deferring.command("queue", "cancel", "--id", message, "--yes")
    assert [row["recipients"] for row in queued(deferring)] == [["two@example.org"]]
    assert "cancel" in deferring.command("trace", message)
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok"
    deferring.command("queue", "retry", "--domain", "example.org", "--yes")
    assert [number_of(message.data) for message in receiver.wait_for(1)] == [2]


def test_trace_tells_the_whole_story_after_delivery(relaying: UpesiServer, receiver: Receiver) -> None:
    """From acceptance to the next hop's reply, also after the message has gone."""
    relaying.send(numbered(1))
    receiver.wait_for(1)
    wait_until(lambda: _ids(relaying), what="the acceptance in the log")
    (message,) = _ids(relaying)
    wait_until(
        lambda: "delivery.delivered" in run_upesi("trace", message, "-c", relaying.file).stdout, what="the delivery"
    )
    story = relaying.command("trace", message)
    assert "message.accepted" in story
    assert story.index("message.accepted") < story.index("delivery.delivered")


def _ids(server: UpesiServer) -> set[str]:
    """Return the ids of what was accepted."""
    return {event["id"] for event in server.events("transaction.accepted")}


def test_commands_work_with_the_server_down(deferring: UpesiServer) -> None:
    """ARCHITECTURE.md: with the server down the command line takes the spool's lock itself."""
    assert deferring.stop() == 0
    assert len(queued(deferring)) == 2
    deferring.command("queue", "cancel", "--domain", "example.net", "--yes")
    assert [row["recipients"] for row in queued(deferring)] == [["two@example.org"]]


def test_an_unknown_id_is_an_error_and_no_traceback(relaying: UpesiServer, tmp_path: Path) -> None:
    """A wrong id ends with a sentence and exit code 1."""
    for command in (["why"], ["show"], ["hold"], ["release"], ["retry"], ["cancel", "--yes"]):
        result = run_upesi("queue", *command, "0" * 32, "-c", relaying.file)
        assert result.returncode == 1
        assert f"nothing is queued of {'0' * 32}" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_change_that_changes_nothing_says_so(deferring: UpesiServer) -> None:
    """What is held is not made due, and what is held already is not held again: the answer names how many were meant."""
    deferring.command("queue", "hold", "--domain", "example.net", "--yes")
    for command in ("retry", "hold"):
        told = deferring.command("queue", command, "--domain", "example.net", "--yes")
        assert told.startswith("0 deliveries ")
        assert "1 selected, none is in a state for it" in told


def test_mail_that_is_cancelled_with_a_bounce_goes_back_to_its_sender(
    deferring: UpesiServer, receiver: Receiver
) -> None:
    """The sender gets a failure notice that says so, also for what was held; the recipient gets nothing."""
    deferring.command("queue", "hold", "--domain", "example.net", "--yes")
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok" if path == "a@example.com" else b"451 4.7.1 Greylisted, try later"
    told = deferring.command("queue", "cancel", "--domain", "example.net", "--bounce", "--yes")
    assert told == "1 delivery will be returned to its sender\n"
    (notice,) = receiver.wait_for(1)
    assert (notice.reverse_path, notice.forward_paths) == ("", ("a@example.com",))
    assert b"returned by the postmaster" in notice.data
    # what was last heard, too: it is why the operator gave up
    assert b"Greylisted, try later" in notice.data
    assert b"one@example.net" in notice.data
    wait_until(lambda: [row["recipients"] for row in queued(deferring)] == [["two@example.org"]], what="only the other")
