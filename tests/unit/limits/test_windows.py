"""The arithmetic of windows, against a list of all times."""

from hypothesis import given
from hypothesis import strategies as st

from upesi.limits.windows import KEPT, SLICES, slice_of, turned


def admitted(gaps: list[float], limit: int, seconds: float) -> tuple[list[float], list[float]]:
    """Return when events were admitted, and when they were refused."""
    counts, newest, now = (0,) * KEPT, 0, 0.0
    yes, no = [], []
    for gap in gaps:
        now += gap
        at = slice_of(now, seconds)
        counts, newest = turned(counts, newest, at), at
        if sum(counts) < limit:
            counts = (counts[0] + 1, *counts[1:])
            yes.append(now)
        else:
            no.append(now)
    return yes, no


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 20), st.sampled_from([1.0, 12.0, 60.0]))
def test_no_window_holds_more_than_the_limit(gaps: list[float], limit: int, seconds: float) -> None:
    """A limit means what it says: no window of W seconds, wherever it begins, has more than N."""
    yes, _ = admitted(gaps, limit, seconds)
    for index in range(len(yes) - limit):
        assert yes[index + limit] - yes[index] >= seconds - 1e-9


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 20), st.sampled_from([1.0, 12.0, 60.0]))
def test_room_comes_back_at_most_a_slice_late(gaps: list[float], limit: int, seconds: float) -> None:
    """Whoever is refused has N events in the window and one slice."""
    yes, no = admitted(gaps, limit, seconds)
    for when in no:
        span = seconds + seconds / SLICES
        assert sum(1 for at in yes if when - span - 1e-9 <= at <= when) >= limit


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    """Counts stay where the number of the slice falls."""
    counts = (3,) * KEPT
    assert turned(counts, 10, 4) == counts
