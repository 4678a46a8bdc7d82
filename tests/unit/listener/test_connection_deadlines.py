"""Deadlines: numbers that the sweeper looks at."""

from __future__ import annotations

import asyncio

from sessionkit import Dialogue

from upesi.config.settings import SmtpSettings, Timeouts
from upesi.config.units import Duration


def later(talk: Dialogue, seconds: float) -> list[str]:
    """Move the clock, sweep, and return what the client hears."""
    talk.loop.advance(seconds)
    talk.connection.check(talk.loop.now)
    return talk.heard()


def test_a_command_may_take_five_minutes() -> None:
    """C15: the command timeout is at least five minutes (RFC 5321 section 4.5.3.2.7), then 421 4.4.2 and close."""
    talk = Dialogue()
    talk.hello()
    assert later(talk, 299) == []
    assert talk.codes("NOOP") == ["250"]
    assert later(talk, 299) == []
    assert later(talk, 2)[0].startswith("421 4.4.2 ")
    assert talk.transport.ended
    talk.hang_up()
    assert talk.named("session.ended")[0]["reason"] == "timeout"


def test_octets_that_make_no_command_buy_no_time() -> None:
    """FLD-03: a command at one octet a second ends with the command's deadline."""
    talk = Dialogue()
    talk.hello()
    for octet in b"NOOP " * 59:
        talk.connection.data_received(bytes([octet]))
        talk.loop.advance(1)
    assert later(talk, 10)[0].startswith("421 4.4.2 ")


def test_a_block_of_data_may_take_three_minutes() -> None:
    """RFC 5321 section 4.5.3.2.5: three minutes between two blocks of data."""
    talk = Dialogue(settings=SmtpSettings(min_rate=0))  # type: ignore[arg-type]
    talk.begin()
    talk.say("DATA")
    assert later(talk, 170) == []
    talk.say(b"x\r\n")
    assert later(talk, 170) == []
    assert later(talk, 11)[0].startswith("421 4.4.2 ")
    assert talk.intake.accepted == []


def test_dripping_data_is_cut_off() -> None:
    """FRM-24: below 500 octets a second after the first minute: 421 4.4.2."""
    talk = Dialogue()
    talk.begin()
    talk.say("DATA")
    for _ in range(59):
        talk.connection.data_received(b"x")
        assert later(talk, 1) == []
    assert later(talk, 2)[0].startswith("421 4.4.2 ")


def test_data_at_a_fair_pace_goes_on() -> None:
    """FRM-24: an honest slow line, above the rate, has all the time it needs."""
    talk = Dialogue()
    talk.begin()
    talk.say("DATA")
    for _ in range(600):
        talk.connection.data_received(b"x" * 598 + b"\r\n")
        assert later(talk, 1) == []
    assert talk.say(b".\r\n")[0].startswith("250 ")


def test_time_between_chunks_is_not_slowness() -> None:
    """FRM-24: between BDAT chunks the command's deadline holds, not the rate."""
    talk = Dialogue()
    talk.begin()
    for _ in range(5):
        assert talk.codes(b"BDAT 3\r\na\r\n") == ["250"]
        assert later(talk, 100) == []
    assert talk.codes("BDAT 0 LAST") == ["250"]


def test_a_session_ends_some_time() -> None:
    """The whole session has a bound."""
    talk = Dialogue(settings=SmtpSettings(timeouts=Timeouts(session=Duration("1h")), max_idle_commands=10_000))
    talk.hello()
    for _ in range(59):
        talk.say("NOOP")
        assert later(talk, 60) == []
    talk.say("NOOP")
    assert later(talk, 61)[0].startswith("421 4.4.2 ")


async def test_who_waits_for_us_is_not_late() -> None:
    """A hook has its own deadline; the client is not blamed for it."""
    talk = Dialogue(mail=lambda tx, sender: asyncio.get_running_loop().create_future())
    talk.hello()
    talk.say("MAIL FROM:<a@example.org>")
    assert later(talk, 100_000) == []
    talk.hang_up()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_a_commit_that_hangs_keeps_the_client_waiting() -> None:
    """C09: while the spool may still say yes, neither 421 nor a close tells the client otherwise."""
    talk = Dialogue()
    talk.intake.hold = True
    talk.begin()
    talk.send()
    assert later(talk, 10_000) == []
    talk.intake.commit()
    assert talk.heard()[0].startswith("250 ")
    # and the clock begins anew
    assert later(talk, 10) == []


def test_a_client_that_does_not_close_is_closed() -> None:
    """Behind our last word the client has two seconds."""
    talk = Dialogue()
    talk.hello()
    assert later(talk, 301)[0].startswith("421 ")
    later(talk, 1)
    assert not talk.transport.aborted
    later(talk, 1.5)
    assert talk.transport.aborted


def test_a_client_that_never_reads_is_cut_off() -> None:
    """FLD-04: unread replies hold a session for the command's deadline at most."""
    talk = Dialogue()
    talk.begin()
    talk.transport.stuck = True
    talk.connection.data_received(b"RCPT TO:<b@example.net>\r\n" * 10_000)
    later(talk, 301)
    later(talk, 3)
    assert talk.transport.aborted


def test_a_stopping_server_lets_transactions_finish() -> None:
    """Drain: 421 4.3.2 to the idle at once, to the others behind their message."""
    idle, busy = Dialogue(), Dialogue()
    idle.hello()
    busy.begin()
    for talk in (idle, busy):
        talk.home.draining = True
        talk.connection.retire()
    assert idle.heard()[0].startswith("421 4.3.2 ")
    assert busy.heard() == []
    busy.say("DATA")
    lines = busy.say(b"x\r\n.\r\n")
    assert [line[:9] for line in lines] == ["250 2.0.0", "421 4.3.2"]
    assert busy.transport.ended


def test_a_reload_lets_whoever_has_just_come_bring_a_message() -> None:
    """Reload: others take over the socket, so a session that has brought nothing yet is not cut off before its MAIL."""
    fresh, served = Dialogue(), Dialogue()
    fresh.hello()
    served.begin()
    served.send()
    served.heard()
    for talk in (fresh, served):
        talk.home.draining = talk.home.patient = True
        talk.connection.retire()
    assert fresh.heard() == []
    assert served.heard()[0].startswith("421 4.3.2 ")
    fresh.say("MAIL FROM:<a@example.org>", "RCPT TO:<rcpt@example.net>")
    fresh.say("DATA")
    lines = fresh.say(b"x\r\n.\r\n")
    assert [line[:9] for line in lines] == ["250 2.0.0", "421 4.3.2"]


def test_the_end_of_the_drain_spares_nobody() -> None:
    """Drain is bounded: behind its deadline a transaction is cut short, and its client comes again."""
    talk = Dialogue()
    talk.begin()
    talk.connection.evict()
    assert talk.heard()[0].startswith("421 4.3.2 ")
    talk.connection.abort()
    assert talk.transport.aborted
    talk.hang_up()
    assert talk.intake.accepted == []


def test_a_commit_is_waited_for_when_the_drain_ends() -> None:
    """Drain: a 421 in place of a 250 that is on its way would make the client send the message twice."""
    talk = Dialogue()
    talk.intake.hold = True
    talk.begin()
    talk.send()
    talk.home.draining = True
    talk.connection.evict()
    assert talk.heard() == []
    talk.intake.commit()
    assert [line[:9] for line in talk.heard()] == ["250 2.0.0", "421 4.3.2"]


def test_delays_for_errors_do_not_stop_the_clock() -> None:
    """A session that is slowed down for its errors still ends at its deadline."""
    talk = Dialogue(settings=SmtpSettings(soft_errors=1, hard_errors=100_000, max_idle_commands=100_000))
    talk.hello()
    talk.say(*["XYZZY"] * 1000)
    heard = []
    for _ in range(302):
        heard += later(talk, 1)
    assert 290 < len(heard) < 305
    assert heard[-1].startswith("421 4.4.2 ")
    written = talk.transport.written
    later(talk, 1)
    assert talk.transport.written == written
