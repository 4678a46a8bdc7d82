"""The circuit breaker: closed, open, half open."""

from __future__ import annotations

from upesi.limits.breaker import BREAK_AFTER, BREAK_FOR, Breaker
from upesi.testkit import FakeClock


def test_it_opens_behind_failures_in_a_row_and_closes_behind_a_success() -> None:
    """PLG-04: five failures in a row open it; one call per pause is let through; its success closes it."""
    clock = FakeClock()
    breaker = Breaker(clock.monotonic)
    for _ in range(BREAK_AFTER - 1):
        assert not breaker.failed()
    assert not breaker.succeeded()
    assert [breaker.failed() for _ in range(BREAK_AFTER)] == [False] * (BREAK_AFTER - 1) + [True]
    assert breaker.open
    assert breaker.shut()
    clock.advance(BREAK_FOR)
    assert [breaker.shut(), breaker.shut()] == [False, True]
    assert not breaker.failed()
    clock.advance(BREAK_FOR - 1)
    assert breaker.shut()
    clock.advance(1)
    assert not breaker.shut()
    assert breaker.succeeded()
    assert not breaker.open
    assert not breaker.shut()
