"""RFC 9422: LIMITS, on the way in. Each docstring names the clause."""

from __future__ import annotations

from tests.unit.session.sessionkit import Dialogue

from upesi.config.settings import SmtpSettings
from upesi.protocol.smtp.limits import ServerLimits


def limited(**limits: int) -> Dialogue:
    settings = SmtpSettings(max_recipients=limits.get("rcpt_max", 1000), max_messages=limits.get("mail_max", 0))
    return Dialogue(settings=settings, limits=ServerLimits(max_message_size=1000, **limits))


def test_limits_are_announced_in_one_keyword() -> None:
    """C108, section 3: EHLO names LIMITS with `name=number` pairs parted by blanks."""
    talk = limited(rcpt_max=3, mail_max=2)
    talk.heard()
    assert "LIMITS RCPTMAX=3 MAILMAX=2" in {line[4:] for line in talk.say("EHLO c.example")}


def test_rcptmax_is_what_a_transaction_takes() -> None:
    """C108, section 4.2: as many recipients as announced are taken, and the next one gets 452."""
    talk = limited(rcpt_max=3)
    talk.hello()
    talk.say("MAIL FROM:<a@b.example>")
    said = [talk.say(f"RCPT TO:<b{number}@y.example>")[0][:9] for number in range(4)]
    assert said == ["250 2.1.5", "250 2.1.5", "250 2.1.5", "452 4.5.3"]


def test_mailmax_is_what_a_session_takes() -> None:
    """C108, section 4.1: as many messages as announced are taken; the next MAIL ends the session with 421."""
    talk = limited(mail_max=2)
    talk.hello()
    for _ in range(2):
        assert talk.codes("MAIL FROM:<a@b.example>", "RCPT TO:<b@y.example>", "DATA") == ["250", "250", "354"]
        assert talk.codes(b"x\r\n.\r\n") == ["250"]
    assert talk.codes("MAIL FROM:<a@b.example>", "NOOP") == ["421"]


def test_transactions_that_came_to_nothing_do_not_count() -> None:
    """C108, section 4.1: what was refused or reset is no message; a client that tries again is not punished."""
    talk = limited(mail_max=1)
    talk.hello()
    assert talk.codes(*["MAIL FROM:<a@b.example>", "RSET"] * 5) == ["250"] * 10
