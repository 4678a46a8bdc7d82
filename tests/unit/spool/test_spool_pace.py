"""How long commits wait for company."""

from __future__ import annotations

import pytest

from upesi.spool.pace import Pace


def _after(*counts: int, quick: bool = True) -> Pace:
    pace = Pace()
    for count in counts:
        pace.follow(count, quick)
    return pace


@pytest.mark.parametrize(
    ("count", "enough", "patience"), [(1, 1, 0.0003), (2, 1, 0.0006), (20, 16, 0.006), (500, 400, 0.008)]
)
def test_the_next_batch_is_expected_to_be_as_large(count: int, enough: int, patience: float) -> None:
    """The pace of commits: four fifths of the last batch are enough, and nobody waits longer than 8 ms or 0.3 ms for each."""
    pace = _after(count)
    assert (pace.enough, pace.patience) == (enough, pytest.approx(patience))


def test_on_a_slow_disk_half_of_the_wait_is_enough() -> None:
    """The next commit does not wait for the sync of the last one, so the waits of a message would add up."""
    assert _after(500, quick=False).patience == pytest.approx(0.004)


def test_a_single_session_waits_for_nobody() -> None:
    """Whoever is alone finds enough with the first item, and long after a burst as well."""
    assert _after(50, *[1] * 40).enough == 1


def test_a_small_batch_between_large_ones_changes_little() -> None:
    """Those who were answered together are still expected together when a straggler had a commit of its own."""
    assert _after(25, 2).enough == 14


def test_the_memory_of_a_burst_fades() -> None:
    """One large batch holds up the small ones behind it for a while, ever less."""
    waits = [_after(100, *[2] * number).patience for number in range(45)]
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] <= 0.001
