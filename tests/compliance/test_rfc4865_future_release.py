"""RFC 4865: mail that is to go later (FUTURERELEASE). Each docstring names the clause."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes
from tests.unit.session.sessionkit import NOW, Dialogue

from upesi.config.settings import Role
from upesi.protocol.smtp.limits import ServerLimits

DAY = 86_400
SUBMISSION = ServerLimits(max_message_size=100_000, future_release=DAY, deliver_by=60, priorities=True)


def submission() -> Dialogue:
    """A session of somebody who is known, which submission asks for."""

    def known(session: Any) -> None:
        session.identity = "joe"

    return Dialogue(role=Role.SUBMISSION, limits=SUBMISSION, connect=known)


def mail(*parameters: str) -> list[str]:
    talk = submission()
    talk.hello()
    return talk.say("MAIL FROM:<a@example.org> " + " ".join(parameters))


def held(parameter: str) -> tuple[float, float, bool]:
    """Return due time and expiry of mail with `parameter`, counted from now, and whether it is sent at once."""
    talk = submission()
    talk.hello()
    talk.say(f"MAIL FROM:<a@example.org> {parameter}", "RCPT TO:<b@example.net>")
    talk.send()
    (delivery,) = talk.intake.accepted[0].deliveries
    return delivery.due - NOW, delivery.expires - NOW, delivery.claim


def test_the_longest_interval_and_the_last_moment_are_announced() -> None:
    """C109, section 4: "FUTURERELEASE" SP max-interval SP max-date-time, the moment counted from this very answer."""
    talk = submission()
    talk.heard()
    answer = talk.say("EHLO client.example.org")
    assert (
        "250-FUTURERELEASE 86400 2026-11-23T10:16:17Z" in answer
        or "250 FUTURERELEASE 86400 2026-11-23T10:16:17Z" in answer
    )


@pytest.mark.parametrize("parameter", ["HOLDFOR=60", "HOLDUNTIL=2026-11-22T11:00:00Z"])
def test_elsewhere_than_at_submission_it_is_unknown(parameter: str) -> None:
    """C109, section 3: the extension is for submission only; what is not announced is no parameter (555)."""
    acceptor = Acceptor(msgspec.structs.replace(LIMITS, deliver_by=60))
    assert codes(acceptor.feed(f"EHLO c\r\nMAIL FROM:<a@b> {parameter}\r\n".encode())) == [250, 555]
    assert b"FUTURERELEASE" not in Acceptor(LIMITS).feed(b"EHLO c\r\n")


@pytest.mark.parametrize(
    ("parameter", "seconds"),
    [
        ("HOLDFOR=3600", 3600), ("HOLDFOR=86400", DAY), ("HOLDUNTIL=2026-11-22T11:16:17Z", 3600),
        ("HOLDUNTIL=2026-11-22t12:16:17.000+01:00", 3600), ("HOLDUNTIL=2026-11-22T10:16:18-00:00", 1),
    ],
)  # fmt: skip
def test_mail_is_first_due_when_it_may_go(parameter: str, seconds: int) -> None:
    """C109, section 4: not before then; it is the due time in the queue, so restarts keep it, and its lifetime begins then."""
    due, expires, claimed = held(parameter)
    assert due == seconds
    assert expires == seconds + Dialogue().intake.lifetime
    assert not claimed


def test_a_moment_that_has_passed_holds_nothing() -> None:
    """A clock that is a little wrong does not lose mail: it goes at once."""
    assert held("HOLDUNTIL=2026-11-22T10:00:00Z")[0] == 0


@pytest.mark.parametrize(
    "parameter",
    ["HOLDFOR=86401", "HOLDFOR=999999999", "HOLDUNTIL=2026-11-23T10:16:18Z", "HOLDUNTIL=9999-12-31T23:59:59Z"],
)
def test_what_is_beyond_the_maxima_is_refused(parameter: str) -> None:
    """C109, section 4: an interval or a moment beyond those announced is an error of the parameter (501)."""
    assert [line[:9] for line in mail(parameter)] == ["501 5.5.4"]


@pytest.mark.parametrize(
    "parameters",
    [
        ("HOLDFOR=60", "HOLDUNTIL=2026-11-22T11:00:00Z"), ("HOLDFOR=60", "HOLDFOR=61"),
        ("HOLDFOR",), ("HOLDFOR=0",), ("HOLDFOR=-1",), ("HOLDFOR=1.5",), ("HOLDFOR=1000000000",), ("HOLDFOR=\u0661",),
        ("HOLDUNTIL",), ("HOLDUNTIL=tomorrow",), ("HOLDUNTIL=2026-11-22",), ("HOLDUNTIL=2026-11-22T11:00:00",),
        ("HOLDUNTIL=2026-02-30T11:00:00Z",), ("HOLDUNTIL=2026-11-22T25:00:00Z",), ("HOLDUNTIL=20261122T110000Z",),
        ("HOLDUNTIL=2026-11-22T11:00:00+99:00",),
    ],
)  # fmt: skip
def test_malformed_or_both_is_refused(parameters: tuple[str, ...]) -> None:
    """C109, section 4 with errata 2040: one of the two at most, once, and by its grammar."""
    assert all(line.startswith("50") for line in mail(*parameters))
    assert mail(*parameters) != []


def test_both_are_told_that_they_exclude_each_other() -> None:
    """C109, section 4: who gave each once and well is not told of a malformed parameter."""
    assert mail("HOLDFOR=60", "HOLDUNTIL=2026-11-22T11:00:00Z") == [
        "501 5.5.4 HOLDFOR and HOLDUNTIL exclude each other"
    ]


def test_time_of_by_must_not_be_over_before_the_release() -> None:
    """Mail that would have to be returned before it may go is refused at once."""
    assert mail("HOLDFOR=600", "BY=600;R")[0].startswith("501 5.5.4")
    assert mail("HOLDFOR=600", "BY=700;R")[0].startswith("250 ")
