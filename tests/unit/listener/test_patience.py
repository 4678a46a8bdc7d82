"""How long clients are waited for."""

from __future__ import annotations

from sessionkit import Dialogue

from upesi.config.settings import OverloadSettings, Role, SmtpSettings
from upesi.listener.overload import harder


def sweep(talk: Dialogue, seconds: int) -> list[str]:
    """Look once a second."""
    heard = []
    for _ in range(seconds):
        talk.loop.advance(1)
        talk.connection.check(talk.loop.now)
        heard += talk.heard()
    return heard


def test_a_command_that_drips_is_given_a_minute_in_all() -> None:
    """FLD-03: an octet a second in a command ends in a minute, not at the five of a client that thinks."""
    talk = Dialogue()
    talk.hello()
    heard: list[str] = []
    seconds = 0
    for octet in b"MAIL FROM:<" + b"a" * 400:
        talk.connection.data_received(bytes([octet]))
        heard = sweep(talk, 1)
        seconds += 1
        if heard:
            break
    assert heard[0].startswith("421 4.4.2 ")
    assert 55 <= seconds <= 65


def test_commands_that_end_do_not_make_dripping_forgotten() -> None:
    """FLD-03: many short commands, each dripped, have the same minute together."""
    talk = Dialogue()
    talk.hello()
    seconds = 0
    while not talk.transport.ended and seconds < 300:
        for octet in b"RSET\r\n":
            if talk.transport.ended:
                break
            talk.connection.data_received(bytes([octet]))
            sweep(talk, 1)
            seconds += 1
    assert talk.transport.ended
    assert seconds < 90


def test_who_must_log_in_and_does_not_keeps_its_place_for_two_minutes() -> None:
    """FLD-10: places of a submission listener are for those who log in; commands in time buy nobody hours."""
    talk = Dialogue(role=Role.SUBMISSION)
    talk.hello()
    for _ in range(2):
        assert sweep(talk, 55) == []
        assert talk.codes("NOOP") == ["250"]
    assert sweep(talk, 20)[0].startswith("421 4.4.2 ")
    assert talk.transport.ended


def test_who_has_logged_in_may_stay() -> None:
    """A mail program keeps its session between two messages; so does a network that may relay."""
    for identity, relaying in (("anna", False), (None, True)):
        talk = Dialogue(role=Role.SUBMISSION)
        talk.hello()
        talk.engine.session.identity, talk.engine.session.relaying = identity, relaying
        for _ in range(4):
            assert sweep(talk, 55) == []
            assert talk.codes("NOOP") == ["250"]


def test_clients_that_think_have_five_minutes() -> None:
    """C15: between two commands nothing is unfinished, so nothing is counted."""
    talk = Dialogue()
    talk.hello()
    for _ in range(5):
        assert sweep(talk, 280) == []
        assert talk.codes("NOOP") == ["250"]


def test_a_line_in_two_pieces_harms_nobody() -> None:
    """A segment's border may fall anywhere: a look that finds half a line now and then adds up to little."""
    talk = Dialogue()
    talk.hello()
    for _ in range(30):
        talk.connection.data_received(b"NO")
        assert sweep(talk, 1) == []
        talk.connection.data_received(b"OP\r\n")
        assert talk.heard() == ["250 2.0.0 Ok"]
        assert sweep(talk, 20) == []


def test_harder_terms_hold_for_those_who_wait_already() -> None:
    """FLD-06: with the timeouts of overload a session that has been idle for a while ends at the next look, and others stay."""
    talk = Dialogue()
    talk.hello()
    assert sweep(talk, 30) == []
    fresh = Dialogue(loop=talk.loop)
    fresh.hello()
    hard = harder(SmtpSettings(), OverloadSettings())
    talk.context.settings = fresh.context.settings = hard
    assert sweep(talk, 1)[0].startswith("421 4.4.2 ")
    assert sweep(fresh, 5) == []
    assert sweep(fresh, 6)[0].startswith("421 4.4.2 ")


def test_harder_terms_are_never_milder() -> None:
    """Who has configured shorter timeouts keeps them in overload."""
    strict = SmtpSettings(hard_errors=1, max_idle_commands=2)
    hard = harder(strict, OverloadSettings(hard_errors=5, max_idle_commands=50))
    assert (hard.hard_errors, hard.max_idle_commands) == (1, 2)
    usual = harder(SmtpSettings(), OverloadSettings())
    assert usual.timeouts.command == 10
    assert usual.timeouts.session == SmtpSettings().timeouts.session
    assert usual.max_message_size == SmtpSettings().max_message_size
