"""RFC 6409: message submission. Each docstring names the clause."""

from __future__ import annotations

import pytest
from tests.unit.session.sessionkit import Dialogue

from upesi.config.settings import Role


def submitting(identity: str | None = "anna@example.org") -> Dialogue:
    talk = Dialogue(role=Role.SUBMISSION, take=False)
    talk.hello()
    talk.engine.session.identity = identity
    return talk


def prefix_of(talk: Dialogue, content: bytes) -> bytes:
    """Submit a message; return what was put on top of it."""
    assert talk.codes("MAIL FROM:<anna@example.org>", "RCPT TO:<b@elsewhere.example>") == ["250", "250"]
    assert talk.send(content)[0].startswith("250 ")
    return talk.intake.accepted[-1].prefix


def test_mail_needs_authentication() -> None:
    """C35, section 4.3: the MSA must by default refuse MAIL with 530 5.7.0 where the session has not been authenticated."""
    (line,) = submitting(None).say("MAIL FROM:<anna@example.org>")
    assert line.startswith("530 5.7.0 ")


def test_who_is_authenticated_may_send_to_anybody() -> None:
    """C35, section 3: submission is where users' mail enters; recipients need not be ours."""
    assert b"Received: " in prefix_of(submitting(), b"From: anna@example.org\r\n\r\nx\r\n")


@pytest.mark.parametrize("name", ["Date", "Message-ID"])
def test_a_missing_field_is_added_and_a_present_one_left(name: str) -> None:
    """C35, sections 8.2 and 8.3: "The MSA SHOULD add or replace" Date and Message-ID only where they are missing or unusable."""
    own = f"{name}: <mine>\r\n".encode()
    assert f"\r\n{name}: ".encode() in prefix_of(submitting(), b"From: anna@example.org\r\n\r\nx\r\n")
    assert f"\r\n{name}: ".encode() not in prefix_of(submitting(), own + b"From: anna@example.org\r\n\r\nx\r\n")


def test_a_sender_is_added_where_the_authors_are_several() -> None:
    """C35, section 8.1: "The MSA MAY add or replace the Sender field"; RFC 5322 section 3.6.2 demands one where From names several."""
    several = b"From: anna@example.org, bert@example.org\r\n\r\nx\r\n"
    assert b"\r\nSender: anna@example.org\r\n" in prefix_of(submitting(), several)


def test_a_submission_has_one_from_field() -> None:
    """C34: RFC 5322 section 3.6: exactly one; a submission server answers for that, a relay does not touch it."""
    twice = b"From: anna@example.org\r\nFrom: bert@example.org\r\n\r\nx\r\n"
    talk = submitting()
    talk.codes("MAIL FROM:<anna@example.org>", "RCPT TO:<b@elsewhere.example>")
    assert talk.send(twice)[0].startswith("554 5.6.0 ")
    relay = Dialogue()
    relay.begin()
    assert relay.send(twice)[0].startswith("250 ")
    assert relay.intake.contents == [twice]


def test_the_client_can_be_hidden_and_is_still_known_here() -> None:
    """C107: Received without the user's address and name where that is wished; the queue and the log keep them."""
    talk = submitting()
    talk.context.hide_client = True
    prefix = prefix_of(talk, b"From: anna@example.org\r\n\r\nx\r\n")
    assert prefix.startswith(b"Received: by mx.example.net\r\n\twith ESMTPA id ")
    assert b"192.0.2.1" not in prefix
    assert talk.intake.accepted[0].origin["client"] == "192.0.2.1"
    assert talk.named("transaction.accepted")[0]["client"] == "192.0.2.1"
