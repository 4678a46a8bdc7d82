"""Clients that talk before it is their turn, and replies that wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sessionkit import Dialogue

from upesi.config.settings import LimitsSettings, Reaction, SmtpSettings
from upesi.config.units import Duration
from upesi.hooks.session import Session
from upesi.session.clients import Clients
from upesi.session.delays import Delays
from upesi.store.machine import MachineCounters


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Limits that nobody meets, and no network that is exempt: all are strangers."""
    counters = MachineCounters(None, boot="")
    yield Clients(counters, LimitsSettings(exempt=()), lambda name, fields: None)
    counters.close()


def dialogue(clients: Clients | None, **settings: object) -> Dialogue:
    return Dialogue(clients=clients, settings=SmtpSettings(**settings))  # type: ignore[arg-type]


def test_strangers_are_greeted_a_moment_later(clients: Clients) -> None:
    """CMD-21: a pause before the greeting shows who talks first; networks that are exempt do not wait."""
    talk = dialogue(clients, greeting_pause=Duration("1s"))
    assert talk.heard() == []
    talk.loop.advance(1)
    assert talk.heard()[0].startswith("220 ")
    assert dialogue(None, greeting_pause=Duration("1s")).heard()[0].startswith("220 ")


def test_early_talk_is_noted_and_nothing_lost(clients: Clients) -> None:
    """CMD-21: with `note`, plugins and the event see it, and the client goes on."""
    talk = dialogue(clients, greeting_pause=Duration("1s"))
    assert talk.say("EHLO client.example.org", "MAIL FROM:<a@example.org>") == []
    talk.loop.advance(1)
    assert [line[:4] for line in talk.heard() if line[3] == " "] == ["220 ", "250 ", "250 "]
    assert talk.engine.session.results["early_talk"] == ("fail", "52 octets before the greeting")
    talk.hang_up()
    assert talk.named("session.ended")[0]["early_talk"] == "52 octets before the greeting"


def test_early_talk_is_refused_where_it_should_be(clients: Clients) -> None:
    """CMD-21: with `refuse`, 554 in place of the greeting (RFC 5321 section 3.1), then 421 and close; no command is obeyed."""
    talk = dialogue(clients, greeting_pause=Duration("1s"), early_talk=Reaction.REFUSE)
    talk.say("EHLO client.example.org", "MAIL FROM:<a@example.org>")
    talk.loop.advance(1)
    assert talk.heard() == ["554 You spoke before it was your turn", "421 4.7.0 Closing connection"]
    assert talk.transport.ended
    assert talk.engine.session.helo == ""


def test_an_early_talker_may_be_kept_waiting(clients: Clients) -> None:
    """CMD-21: with `delay`, every reply from the greeting on waits, successes too."""
    talk = dialogue(clients, greeting_pause=Duration("1s"), early_talk=Reaction.DELAY, delay=Duration("2s"))
    talk.say("EHLO client.example.org")
    talk.loop.advance(1)
    for code in ("220", "250"):
        talk.loop.advance(1.5)
        assert talk.heard() == []
        talk.loop.advance(0.5)
        assert talk.heard()[-1].startswith(code)
    assert talk.context.delays.waiting == 0


@pytest.mark.parametrize("verb", ["HELO", "EHLO"])
def test_who_does_not_await_the_answer_to_ehlo_may_be_refused(verb: str) -> None:
    """CMD-22: with `refuse`, 554 5.5.1, then 421 and close; what was sent behind it is not obeyed."""
    talk = dialogue(None, improper_pipelining=Reaction.REFUSE)
    talk.heard()
    heard = talk.say(f"{verb} client.example.org", "MAIL FROM:<a@example.org>")
    assert heard == ["554 5.5.1 You spoke before it was your turn", "421 4.7.0 Closing connection"]
    assert talk.transport.ended
    talk.hang_up()
    assert talk.named("session.ended")[0]["pipelining"] == f"sent on behind {verb}"


def test_who_does_not_await_354_may_be_refused() -> None:
    """CMD-22: with `refuse`, DATA with octets behind it gets 554 and no message is taken."""
    talk = dialogue(None, improper_pipelining=Reaction.REFUSE)
    talk.begin()
    heard = talk.say("DATA", "Subject: x", "", "Hello", ".")
    assert [line[:9] for line in heard] == ["554 5.5.1", "421 4.7.0"]
    assert talk.intake.accepted == []


def test_improper_pipelining_may_be_kept_waiting() -> None:
    """CMD-22: with `delay`, the replies wait from then on, and keep their order."""
    talk = dialogue(None, improper_pipelining=Reaction.DELAY, delay=Duration("2s"))
    talk.heard()
    assert talk.say("EHLO client.example.org", "MAIL FROM:<a@example.org>") == []
    talk.loop.advance(2.1)
    assert talk.heard()[-1].startswith("250 ")
    talk.loop.advance(2.1)
    assert talk.heard()[-1].startswith("250 2.1.0")


def test_proper_pipelining_is_nobodys_fault() -> None:
    """RFC 2920 section 3.1: MAIL, RCPT and DATA last in a group are as they should be."""
    talk = dialogue(None, improper_pipelining=Reaction.REFUSE)
    talk.hello()
    assert talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA") == ["250", "250", "354"]
    assert talk.codes("Subject: x", "", "Hello", ".", "MAIL FROM:<a@example.org>") == ["250", "250"]
    assert not talk.engine.session.has_results


def test_plugins_may_keep_a_client_waiting() -> None:
    """`session.delay` (tarpit): set by a hook, each reply waits so long, and costs a timer."""

    def slow(tx: object, sender: object) -> None:
        session.delay = 3.0

    talk = Dialogue(mail=slow)
    session: Session = talk.engine.session
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org>") == []
    assert talk.context.delays.waiting == 1
    talk.loop.advance(3.1)
    assert talk.heard()[0].startswith("250 2.1.0 ")
    assert talk.say("RCPT TO:<b@example.net>") == []
    talk.loop.advance(3.1)
    assert talk.heard()[0].startswith("250 2.1.5 ")
    assert talk.connection._task is None


def test_delays_are_bounded_and_given_back() -> None:
    """`smtp.max_delayed`: past it clients are answered at once; who hangs up while it waits gives its place back."""
    delays = Delays(1)
    talks = []
    for _ in range(2):
        talk = Dialogue()
        talk.hello()
        talk.context.delays = delays
        talk.engine.session.delay = 3.0
        talks.append(talk)
    assert talks[0].say("NOOP") == []
    assert talks[1].say("NOOP") == ["250 2.0.0 Ok"]
    assert (delays.waiting, delays.passed) == (1, 1)
    talks[0].hang_up()
    assert delays.waiting == 0
    assert talks[1].say("NOOP") == []
