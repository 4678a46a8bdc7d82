"""What a session may do without bringing mail."""

from __future__ import annotations

import pytest
from sessionkit import Dialogue

from upesi.config.settings import SmtpSettings
from upesi.hooks.verdict import reject
from upesi.mail.route import MaildirRoute


@pytest.mark.parametrize("line", ["NOOP", "RSET", "VRFY a", "EHLO a.example", "HELP"])
def test_a_session_of_idle_commands_is_slowed_and_ends(line: str) -> None:
    """CMD-17: of a hundred commands that bring no mail the second half is answered a second late each, the next is 421 4.7.0."""
    talk = Dialogue(settings=SmtpSettings(max_idle_commands=100))
    talk.hello()
    for _ in range(49):
        assert talk.codes(line)[-1][0] == "2"
    for _ in range(50):
        assert talk.codes(line) == []
        talk.loop.advance(0.9)
        assert talk.heard() == []
        talk.loop.advance(0.2)
        assert talk.heard()[-1][0] == "2"
    assert talk.say(line)[0].startswith("421 4.7.0 ")
    assert talk.transport.ended


def test_what_follows_a_slowed_command_keeps_its_order() -> None:
    """CMD-17, C40: a late answer is late for what was sent behind it too, and none is lost."""
    talk = Dialogue(settings=SmtpSettings(max_idle_commands=2))
    talk.hello()
    assert talk.codes("NOOP", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>") == []
    talk.loop.advance(1.1)
    assert [line[:9] for line in talk.heard()] == ["250 2.0.0", "250 2.1.0", "250 2.1.5"]
    assert talk.send()[0].startswith("250 ")


def test_mail_makes_idle_commands_and_errors_forgotten() -> None:
    """A client that keeps its connection, with RSET and NOOP between its messages, is not sent away."""
    talk = Dialogue(settings=SmtpSettings(max_idle_commands=5, soft_errors=3, hard_errors=4))
    for _ in range(10):
        talk.begin()
        talk.say("XYZZY", "XYZZY")
        assert talk.send()[0].startswith("250 ")
        assert talk.codes("RSET", "NOOP") == ["250", "250"]


def test_unknown_verbs_end_the_session_at_the_hard_limit() -> None:
    """CMD-18: a thousand unknown verbs in one segment are answered up to the 20th error, then 421 4.7.0, and no more are read."""
    talk = Dialogue(settings=SmtpSettings(soft_errors=20, hard_errors=20))
    talk.hello()
    lines = talk.say(*["XYZZY"] * 1000)
    assert [line[:3] for line in lines] == ["500"] * 20 + ["421"]
    assert lines[-1].startswith("421 4.7.0 ")
    assert talk.transport.ended


def test_replies_are_delayed_behind_the_soft_limit() -> None:
    """Behind `soft_errors` each reply takes a second, in order, and no reply is lost."""
    talk = Dialogue(settings=SmtpSettings(soft_errors=2, hard_errors=20))
    talk.hello()
    assert talk.codes("XYZZY", "XYZZY", "XYZZY", "NOOP") == ["500", "500"]
    talk.loop.advance(0.9)
    assert talk.heard() == []
    talk.loop.advance(0.2)
    assert [line[:3] for line in talk.heard()] == ["500"]
    talk.loop.advance(1.0)
    assert [line[:3] for line in talk.heard()] == ["250"]


def test_dictionary_attacks_are_cut_off() -> None:
    """RCP-02: refused recipients are errors."""
    talk = Dialogue(
        rcpt=lambda tx, r: reject("5.1.1", "No such user"), settings=SmtpSettings(soft_errors=20, hard_errors=20)
    )
    talk.hello()
    lines = talk.say("MAIL FROM:<a@example.org>", *[f"RCPT TO:<u{n}@example.net>" for n in range(100)])
    assert [line[:3] for line in lines] == ["250"] + ["550"] * 20 + ["421"]


def test_a_session_has_a_cap_on_commands() -> None:
    """CMD-25: recipients spread over RSET cycles end with the session's cap on commands."""
    talk = Dialogue(settings=SmtpSettings(max_commands=50, max_idle_commands=1000))
    talk.hello()
    heard: list[str] = []
    while not talk.transport.ended:
        heard += talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "RSET")
    assert heard[-1] == "421"
    assert len(heard) == 50


def test_surplus_recipients_are_deferred_and_the_first_ones_kept() -> None:
    """RCP-01, C13: the 1,001st RCPT gets 452 4.5.3; the thousand before it get the mail."""
    talk = Dialogue(settings=SmtpSettings(max_recipients=1000))
    talk.hello()
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]
    replies = talk.say(*[f"RCPT TO:<u{n}@example.net>" for n in range(1030)])
    assert [line[:3] for line in replies] == ["250"] * 1000 + ["452"] * 30
    assert replies[-1].startswith("452 4.5.3 ")
    assert talk.send()[0].startswith("250 ")
    (delivery,) = talk.intake.accepted[0].deliveries
    assert [r.address.local for r in delivery.recipients] == [f"u{n}" for n in range(1000)]


def test_a_recipient_named_twice_gets_one_copy() -> None:
    """RCP-03: the same mailbox is kept once; each RCPT is answered."""
    talk = Dialogue()
    talk.begin("b@example.net", "b@EXAMPLE.net", "B@example.net")
    talk.send()
    (delivery,) = talk.intake.accepted[0].deliveries
    # the local part's case is the destination's business (RFC 5321 section 2.4)
    assert [str(r.address) for r in delivery.recipients] == ["b@example.net", "B@example.net"]


def test_two_spellings_of_one_local_mailbox_get_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """RCP-03: what ends in the same Maildir is one recipient, however it is spelled; each RCPT is answered."""
    talk = Dialogue()
    monkeypatch.setattr(talk.intake, "default_route", lambda address: MaildirRoute(f"/mail/{address.local.lower()}"))
    talk.begin("anna@example.net", "Anna@example.net", "bert@example.net")
    assert talk.engine.session.transaction is not None
    kept = [str(recipient.address) for recipient in talk.engine.session.transaction.recipients]
    assert kept == ["anna@example.net", "bert@example.net"]


def test_relaying_needs_a_vote_or_the_right() -> None:
    """C27: without a plugin's yes a recipient is refused 550 5.7.1; a relaying session needs none."""
    talk = Dialogue(take=False)
    talk.hello()
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]
    assert talk.say("RCPT TO:<b@elsewhere.example>")[0].startswith("550 5.7.1 ")
    talk.engine.session.relaying = True
    assert talk.codes("RCPT TO:<b@elsewhere.example>") == ["250"]
