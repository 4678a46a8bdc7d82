"""Overload is entered at once and left with hysteresis."""

import pytest

from upesi.limits.overload import Load, Marks, Overload

MARKS = Marks(enter=0.9, leave=0.7, lag=0.5, calm=10)


@pytest.mark.parametrize("resource", ["sessions", "memory", "descriptors"])
def test_any_resource_that_runs_short_is_overload(resource: str) -> None:
    """FLD-06: at the mark, not before it; the cause is named."""
    overload = Overload(MARKS)
    assert not overload.measured(0, Load(**{resource: 0.89}))
    assert overload.measured(1, Load(**{resource: 0.9}))
    assert overload.cause == resource
    assert not overload.measured(2, Load(**{resource: 0.95}))


def test_one_late_moment_is_no_overload() -> None:
    """A collection or a busy neighbour makes the loop late once; what lasts makes it late again and again."""
    overload = Overload(MARKS)
    assert not overload.measured(0, Load(lag=1.5))
    for moment in range(20):
        assert not overload.measured(moment, Load(lag=0.01))
    found = [overload.measured(moment, Load(lag=0.9)) for moment in range(8)]
    assert found.count(True) == 1
    assert overload.cause == "lag"


def test_it_ends_after_a_calm_time_below_the_lower_mark() -> None:
    """Between the marks it neither begins nor ends, and the calm is counted anew after each trouble."""
    overload = Overload(MARKS)
    overload.measured(0, Load(sessions=1))
    assert not any(overload.measured(at, Load(sessions=0.8)) for at in range(1, 100))
    assert not overload.measured(100, Load(sessions=0.69))
    assert not overload.measured(109, Load(sessions=0.69))
    assert not overload.measured(109.5, Load(memory=0.7))
    assert not overload.measured(110, Load())
    assert not overload.measured(119.9, Load())
    assert overload.measured(120, Load())
    assert overload.cause == ""


def test_another_trouble_does_not_begin_it_twice() -> None:
    """While it lasts, the first cause stands."""
    overload = Overload(MARKS)
    assert overload.measured(0, Load(sessions=1))
    assert not overload.measured(1, Load(memory=1))
    assert overload.cause == "sessions"
    assert overload.began == 0
