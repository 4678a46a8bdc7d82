"""Steps of the wall clock with mail in the queue: what waits expires no sooner, and nothing turns in circles."""

from __future__ import annotations

import pytest
from scheduler_world import DEFERRED, DELIVERED, DOWN, World

from upesi.scheduler.leaps import Leaps
from upesi.spool.records import RETURNED

_DAY = 86_400.0
_LIFE = 5 * _DAY
# set forward from late 2023: by this much
_FORWARD = {"an hour": 3600.0, "ten years": 3650 * _DAY, "behind 2038-01-19": 447_483_700.0}


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self, wall: float) -> None:
        self.passed = 50.0
        self._base = wall - 50.0

    def wall(self) -> float:
        return self._base + self.passed

    def monotonic(self) -> float:
        return self.passed

    def set(self, to: float) -> None:
        self._base = to - self.passed


def leaps_of(clocks: Clocks) -> Leaps:
    return Leaps(clocks.wall, clocks.monotonic, _LIFE)


def test_what_came_before_a_leap_expires_as_much_later() -> None:
    """CLK-01: and what came behind it, and what an operator has returned, as it says; from 1970 to today too."""
    clocks = Clocks(1000.0)
    leaps = leaps_of(clocks)
    clocks.set(1.8e9)
    assert leaps.expiry(900.0, 900.0 + _LIFE) == pytest.approx(1.8e9 - 100 + _LIFE)
    assert leaps.expiry(1.8e9 + 1, 1.8e9 + 1 + _LIFE) == 1.8e9 + 1 + _LIFE
    assert leaps.expiry(900.0, RETURNED) == RETURNED
    assert leaps.behind == pytest.approx(1.8e9 - 1000)


def test_leaps_add_up_and_setting_the_clock_right_undoes_them() -> None:
    """CLK-01: what had not expired by the true clock has not, and what had has."""
    clocks = Clocks(1.8e9)
    leaps = leaps_of(clocks)
    for ahead in (_DAY, 10 * _DAY):
        clocks.set(1.8e9 + ahead)
        leaps.look()
    assert leaps.expiry(1.8e9 - 10, 1.8e9 + 5) == pytest.approx(1.8e9 + 5 + 10 * _DAY)
    clocks.set(1.8e9)
    assert leaps.expiry(1.8e9 - 10, 1.8e9 + 5) == 1.8e9 + 5
    assert leaps.behind == 0.0


def test_time_that_passes_is_no_leap_and_leaps_are_forgotten() -> None:
    """CLK-01: a minute of drift is none; when all mail from before a leap has had its time, nothing is added any more."""
    clocks = Clocks(1.8e9)
    leaps = leaps_of(clocks)
    for _ in range(20):
        clocks.passed += _DAY
        clocks.set(clocks.wall() + 30)
        leaps.look()
    assert leaps.behind == 0.0
    for _ in range(100):
        clocks.set(clocks.wall() + 3600)
        leaps.look()
    assert leaps.behind <= 16 * 3600.001
    clocks.passed += _LIFE + 1
    leaps.look()
    assert leaps.behind == 0.0


@pytest.mark.parametrize("step", _FORWARD)
def test_a_clock_set_forward_returns_no_mail(world: World, step: str) -> None:
    """CLK-01: mail that a receiver puts off is tried again by the schedule, and delivered; it is not too old at once."""
    site = world.site("x.example")
    site.outcome = lambda recipient: DEFERRED
    message = world.accept("a@x.example", expires=_LIFE)
    world.pass_time(60)
    world.ahead = _FORWARD[step]
    world.pass_time(3600)
    assert world.reporter.reports == []
    assert 2 <= len(site.attempts) <= 5
    (row,) = world.rows()
    assert row.expires == pytest.approx(message.received + _LIFE)
    site.outcome = lambda recipient: DELIVERED
    world.pass_time(4 * 3600)
    assert [id for id, _ in site.delivered] == [message.id]


def test_the_mail_of_a_site_that_is_down_is_not_returned_by_a_leap(world: World) -> None:
    """CLK-01: nor what waits behind a site's pause, untried."""
    world.site("x.example").down = DOWN
    for name in range(30):
        world.accept(f"u{name}@x.example", expires=_LIFE)
    world.pass_time(60)
    world.ahead = 3650 * _DAY
    world.pass_time(2 * 3600)
    assert world.reporter.reports == []
    world.pass_time(_LIFE)
    assert len(world.reporter.reports) == 30


def test_a_clock_set_back_makes_no_storm(world: World) -> None:
    """CLK-01: neither attempts nor looks at the index come more often; what waited for the future is the spool's to move."""
    site = world.site("x.example")
    site.outcome = lambda recipient: DEFERRED
    world.accept("a@x.example", expires=_LIFE)
    world.ahead = 3650 * _DAY
    world.pass_time(60)
    world.ahead = 0.0
    looks: list[float] = []
    ask = world.store.next_due

    async def counted() -> float | None:
        looks.append(world.loop.time())
        return await ask()

    world.store.next_due = counted  # type: ignore[method-assign]
    world.pass_time(600)
    assert len(site.attempts) == 1
    assert len(looks) <= 610
    world.accept("b@x.example", expires=_LIFE)
    world.pass_time(1)
    assert len(site.attempts) == 2
    assert all(fields["seconds"] >= 0 for kind, fields in world.emitted if kind == "delivery.deferred")  # type: ignore[operator]
