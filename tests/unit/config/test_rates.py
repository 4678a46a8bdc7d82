"""Rates as people write them."""

import pytest

from upesi.config.units import Rate


@pytest.mark.parametrize(("text", "count", "seconds"), [("600/1m", 600, 60), ("5/90s", 5, 90), (" 7 /1h", 7, 3600)])
def test_a_rate_is_a_count_and_a_window(text: str, count: int, seconds: int) -> None:
    """A rate says how many, and in how long."""
    rate = Rate(text)
    assert (rate.count, rate.seconds) == (count, seconds)
    assert Rate(str(rate)) == rate


def test_none_is_no_limit() -> None:
    """`none` counts nothing."""
    assert Rate("none").count == 0
    assert str(Rate("none")) == "none"


@pytest.mark.parametrize(
    "text", ["", "5", "5/", "/1m", "0/1m", "-1/1m", "1/0s", "1/100ms", "1/2w", "x/1m", "99999999999/1m"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """A rate that could not be kept stops the start."""
    with pytest.raises(ValueError, match=r"rate|duration"):
        Rate(text)
