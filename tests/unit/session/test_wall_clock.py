"""Steps of the wall clock, in the midst of sessions."""

from __future__ import annotations

import pytest
from sessionkit import NOW, Dialogue

from upesi.session.trace import Dates

_STEPS = {
    "an hour forward": NOW + 3600,
    "an hour back": NOW - 3600,
    "ten years forward": NOW + 10 * 365 * 86400,
    "ten years back": NOW - 10 * 365 * 86400,
    "1970": 0.5,
    "2038-01-19": 2147483647.5,
    "behind 2038-01-19": 2147483648.5,
}


@pytest.mark.parametrize("step", _STEPS)
def test_a_step_of_the_wall_clock_ends_no_session(step: str) -> None:
    """CLK-01: deadlines are on the loop's clock; a message that was begun before the step is accepted behind it."""
    talk = Dialogue()
    talk.begin()
    talk.context.now = lambda: _STEPS[step]
    for _ in range(30):
        talk.loop.advance(1)
        talk.connection.check(talk.loop.now)
    assert talk.heard() == []
    assert talk.send()[0].startswith("250 ")
    (message,) = talk.intake.accepted
    assert message.deliveries[0].expires == pytest.approx(_STEPS[step] + talk.intake.lifetime)
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0.0, "Thu, 01 Jan 1970 00:00:00 +0000"),
        (2147483648.0, "Tue, 19 Jan 2038 03:14:08 +0000"),
        (1483228799.9, "Sat, 31 Dec 2016 23:59:59 +0000"),
        (1483228800.0, "Sun, 01 Jan 2017 00:00:00 +0000"),
    ],
)
def test_dates_are_right_at_the_borders_of_time(at: float, text: str) -> None:
    """CLK-01: 1970, the end of 32 bits, and both sides of a leap second; summer time changes nothing, all is UTC."""
    dates = Dates()
    assert dates.text(at + 5000) != text
    assert dates.text(at) == text
