"""Submission: the header section is completed, users have limits, the client is hidden where that is wished."""

from __future__ import annotations

from typing import Any

import pytest
from sessionkit import NOW, Dialogue

from upesi.config.settings import Role, SubmissionSettings
from upesi.config.units import Rate
from upesi.session.users import Users


class Counts:
    """Counters without a clock: nothing is ever forgotten."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def take(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        if rate.count and self.counts.get(key, 0) + n > rate.count:
            return False
        self.counts[key] = self.counts.get(key, 0) + n
        return True


def submitting(identity: str | None = "anna", *, hide_client: bool = False, **more: Any) -> Dialogue:
    """A client of a submission listener that authenticated."""
    talk = Dialogue(role=Role.SUBMISSION, **more)
    talk.context.hide_client = hide_client
    talk.hello()
    talk.engine.session.identity = identity
    return talk


def sent(talk: Dialogue, content: bytes, reverse_path: str = "anna@example.org") -> list[str]:
    assert talk.codes(f"MAIL FROM:<{reverse_path}>", "RCPT TO:<b@example.net>") == ["250", "250"]
    return talk.send(content)


def added(talk: Dialogue) -> list[str]:
    """The names of the fields on top of the last message, below Received."""
    lines = talk.intake.accepted[-1].prefix.decode().split("\r\n")
    return [line.partition(":")[0] for line in lines[1:-1] if not line.startswith(("\t", " "))]


WHOLE = (
    b"From: anna@example.org\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\nMessage-ID: <x@example.org>\r\n\r\nHello\r\n"
)


def test_who_did_not_authenticate_submits_nothing() -> None:
    """C35: RFC 6409 section 4.3: 530 5.7.0 to MAIL; RCPT and DATA find no transaction."""
    talk = submitting(None)
    lines = talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA")
    assert [line[:9] for line in lines] == ["530 5.7.0", "503 5.5.1", "503 5.5.1"]


def test_users_may_send_anywhere() -> None:
    """RFC 6409: relaying is what a submission server is for; nobody needs to vote for the recipient."""
    talk = submitting(take=False)
    assert sent(talk, WHOLE)[0].startswith("250 ")


def test_a_whole_message_stays_as_it_is() -> None:
    """C35: nothing that is there is changed or added again."""
    talk = submitting()
    sent(talk, WHOLE)
    assert added(talk) == []
    assert talk.intake.contents == [WHOLE]


def test_what_is_missing_is_added() -> None:
    """C35: RFC 6409 section 8: Date and Message-ID, and a From that says what the envelope says."""
    talk = submitting()
    sent(talk, b"Subject: x\r\n\r\nHello\r\n")
    prefix = talk.intake.accepted[0].prefix.decode()
    id = talk.intake.accepted[0].id.hex()
    date = "Sun, 22 Nov 2026 10:16:17 +0000"
    assert NOW == 1795342577.0
    assert prefix.endswith(
        f"; {date}\r\nDate: {date}\r\nFrom: anna@example.org\r\nMessage-ID: <{id}@mx.example.net>\r\n"
    )
    assert talk.intake.contents == [b"Subject: x\r\n\r\nHello\r\n"]


@pytest.mark.parametrize(
    ("field", "names"),
    [
        (b"date: x\r\n", ["From", "Message-ID"]),
        (b"FROM: a@b.example\r\n", ["Date", "Message-ID"]),
        (b"message-id : <x>\r\n", ["Date", "From"]),
        (b"X-Date: x\r\nResent-From: a@b.example\r\n", ["Date", "From", "Message-ID"]),
        (b"", ["Date", "From", "Message-ID"]),
    ],
)
def test_each_field_is_looked_for_by_its_name(field: bytes, names: list[str]) -> None:
    """C34: fields that only look alike do not count; those in another case, or with a blank before the colon, do."""
    talk = submitting()
    sent(talk, field + b"\r\nHello\r\n")
    assert added(talk) == names


def test_several_authors_need_a_sender() -> None:
    """RFC 5322 section 3.6.2: From with several mailboxes must have a Sender; one mailbox with commas in its name must not."""
    head = b"Date: x\r\nMessage-ID: <x>\r\nFrom: "
    talk = submitting()
    sent(talk, head + b'a@example.org, "Lee, B." <b@example.org>\r\n\r\n')
    assert added(talk) == ["Sender"]
    sent(talk, head + b'"Lee, B." <b@example.org>\r\n\r\n')
    assert added(talk) == []
    sent(talk, head + b"a@example.org, b@example.org\r\nSender: a@example.org\r\n\r\n")
    assert added(talk) == []


@pytest.mark.parametrize(
    ("content", "reverse_path"),
    [(b"From: a@example.org\r\nFrom: b@example.org\r\n\r\n", "a@example.org"), (b"Subject: x\r\n\r\n", "")],
)
def test_a_message_without_one_author_is_refused(content: bytes, reverse_path: str) -> None:
    """C34: RFC 5322 section 3.6: one From; two of them fool readers, and for none there is nothing to say."""
    talk = submitting()
    assert sent(talk, content, reverse_path)[0].startswith("554 5.6.0 ")
    assert talk.intake.accepted == []


@pytest.mark.parametrize("role", [Role.MX, Role.LMTP])
def test_a_relay_never_edits(role: Role) -> None:
    """C34: RFC 5321 section 6.4: on the way, a message is not completed."""
    talk = Dialogue(lmtp=role is Role.LMTP)
    talk.begin()
    talk.send(b"Subject: x\r\n\r\n")
    assert added(talk) == []


def test_the_client_can_be_hidden() -> None:
    """Where a user lives is nobody's business: neither address nor name, and the rest of Received stays."""
    talk = submitting(hide_client=True)
    sent(talk, WHOLE)
    prefix = talk.intake.accepted[0].prefix
    assert prefix.startswith(b"Received: by mx.example.net\r\n\twith ESMTPA id ")
    assert b"192.0.2.1" not in prefix
    assert b"client.example.org" not in prefix
    assert talk.intake.accepted[0].origin["client"] == "192.0.2.1"


def limited(messages: str, recipients: str, role: Role = Role.SUBMISSION) -> Dialogue:
    talk = Dialogue(role=role)
    settings = SubmissionSettings(user_messages=Rate(messages), user_recipients=Rate(recipients))
    talk.context.users = Users(Counts(), settings, talk.context.emit)  # type: ignore[arg-type]
    talk.hello()
    talk.engine.session.identity = "anna"
    return talk


@pytest.mark.parametrize("role", [Role.SUBMISSION, Role.MX])
def test_a_users_messages_are_limited_wherever_they_come(role: Role) -> None:
    """A stolen password sends so much and no more; 450, and one event for all that is refused."""
    talk = limited("2/1h", "100/1h", role)
    for _ in range(2):
        assert sent(talk, WHOLE)[0].startswith("250 ")
    lines = talk.say("MAIL FROM:<a@example.org>", "MAIL FROM:<a@example.org>")
    assert [line[:9] for line in lines] == ["450 4.7.1", "450 4.7.1"]
    (event,) = talk.named("user.limited")
    assert (event["identity"], event["limit"]) == ("anna", "messages")
    talk.engine.session.identity = "Anna"
    assert talk.codes("MAIL FROM:<a@example.org>") == ["450"]
    talk.engine.session.identity = "berta"
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


def test_a_users_recipients_are_limited() -> None:
    """452 for those beyond the limit; the message goes to the others."""
    talk = limited("100/1h", "2/1h")
    assert talk.codes("MAIL FROM:<a@example.org>", *["RCPT TO:<b@example.net>"] * 3) == ["250", "250", "250", "452"]
    assert talk.send(WHOLE)[0].startswith("250 ")


def test_strangers_have_no_users_limits() -> None:
    """Who did not authenticate is counted by network only."""
    talk = limited("1/1h", "1/1h", Role.MX)
    talk.engine.session.identity = None
    for _ in range(3):
        assert sent(talk, WHOLE)[0].startswith("250 ")
