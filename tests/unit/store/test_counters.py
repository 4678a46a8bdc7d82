"""Counters that hold over all workers: two members of one file stand for two workers."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from upesi.config.units import Rate
from upesi.store import machine
from upesi.store.machine import MachineCounters
from upesi.store.region import MEMBERS, RegionError


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def two(tmp_path: Path, clock: Clock) -> Iterator[tuple[MachineCounters, MachineCounters]]:
    """Two workers."""
    pair = tuple(MachineCounters(tmp_path / "counters", boot="one", monotonic=clock) for _ in range(2))
    yield pair  # type: ignore[misc]
    for each in pair:
        each.close()


def test_what_is_held_at_once_is_limited_over_all_workers(two: tuple[MachineCounters, MachineCounters]) -> None:
    """Limits mean what they say: five at once are five, whoever holds them."""
    first, second = two
    assert [worker.hold(b"k", 5) for worker in (first, second, first, second, first)] == [True] * 5
    assert not first.hold(b"k", 5)
    assert not second.hold(b"k", 5)
    second.release(b"k")
    assert first.hold(b"k", 5)
    assert not second.hold(b"k", 5)
    assert first.held(b"k") == second.held(b"k") == 5
    assert second.hold(b"other", 5)


def test_a_rate_is_limited_over_all_workers(two: tuple[MachineCounters, MachineCounters], clock: Clock) -> None:
    """Of seven in a minute, the eighth is refused wherever it comes; after the minute there is room."""
    rate = Rate("7/1m")
    took = [two[turn % 2].take(b"k", rate) for turn in range(10)]
    assert took == [True] * 7 + [False] * 3
    clock.now += 30
    assert not two[0].take(b"k", rate)
    clock.now += 36
    assert two[1].take(b"k", rate)
    assert two[0].spent(b"k", rate) == 1


def test_a_window_of_another_length_begins_with_nothing(two: tuple[MachineCounters, MachineCounters]) -> None:
    """docs/operating.md: after a reload old events count under another number, and not in another window."""
    before, number, window = Rate("7/1m"), Rate("5/1m"), Rate("7/10s")
    assert two[0].take(b"k", before, 7)
    assert (two[1].spent(b"k", number), two[1].spent(b"k", window)) == (7, 0)


def test_what_does_not_fit_is_not_counted_in_part(two: tuple[MachineCounters, MachineCounters]) -> None:
    """`take` of several is all or nothing; `add` counts what has happened in any case."""
    rate = Rate("10/1m")
    assert two[0].take(b"k", rate, 8)
    assert not two[1].take(b"k", rate, 3)
    assert two[1].take(b"k", rate, 2)
    assert not two[0].add(b"k", rate)
    assert two[0].spent(b"k", rate) == 11


def test_what_is_given_back_is_counted_no_more(two: tuple[MachineCounters, MachineCounters], clock: Clock) -> None:
    """AUT-04: one for one over all workers, in a later slice as well; never below nothing, and what is left ends when it would have."""
    rate = Rate("3/1m")
    assert two[0].take(b"k", rate)
    clock.now += 20
    assert two[1].take(b"k", rate)
    clock.now += 10
    two[0].give_back(b"k", rate)
    assert [worker.take(b"k", rate) for worker in (two[0], two[1], two[0])] == [True, True, False]
    for _ in range(5):
        two[1].give_back(b"k", rate)
    assert two[0].spent(b"k", rate) == 0
    two[0].give_back(b"never counted", rate)
    assert two[0].spent(b"never counted", rate) == 0
    assert two[0].take(b"k", rate)
    clock.now += 30
    assert two[0].take(b"k", rate)
    two[1].give_back(b"k", rate)
    clock.now += 36
    assert two[0].spent(b"k", rate) == 0


def test_no_limit_counts_nothing(two: tuple[MachineCounters, MachineCounters]) -> None:
    """A rate of none refuses nobody."""
    assert all(two[0].take(b"k", Rate("none")) for _ in range(100))
    assert two[0].spent(b"k", Rate("none")) == 0
    assert all(two[0].hold(b"h", 0) for _ in range(100))


def test_forgotten_counts_begin_again(two: tuple[MachineCounters, MachineCounters]) -> None:
    """Who has shown who they are begins anew, at every worker."""
    rate = Rate("2/1m")
    two[0].add(b"k", rate, 2)
    two[1].forget(b"k", rate)
    assert two[0].take(b"k", rate)


def test_a_member_that_ends_gives_back_what_it_held(tmp_path: Path, clock: Clock) -> None:
    """A worker that is killed holds nothing any more: its place is found empty by whoever meets the limit."""
    first = MachineCounters(tmp_path / "counters", boot="one", monotonic=clock)
    second = MachineCounters(tmp_path / "counters", boot="one", monotonic=clock)
    assert all(second.hold(b"k", 3) for _ in range(3))
    assert not first.hold(b"k", 3)
    # what the kernel does at the end of a process: no call of ours is made
    second._region.close()
    clock.now += 1
    assert first.hold(b"k", 3)
    assert first.held(b"k") == 1
    third = MachineCounters(tmp_path / "counters", boot="one", monotonic=clock)
    assert third.held(b"k") == 1


def test_counts_outlive_a_restart_and_not_the_machine(tmp_path: Path, clock: Clock) -> None:
    """A restart of the server gives nobody room; after a start of the machine its clock is another, so counts are wiped."""
    rate = Rate("3/1m")
    before = MachineCounters(tmp_path / "counters", boot="one", monotonic=clock)
    before.take(b"k", rate, 3)
    before.close()
    after = MachineCounters(tmp_path / "counters", boot="one", monotonic=clock)
    assert not after.take(b"k", rate)
    after.close()
    assert MachineCounters(tmp_path / "counters", boot="two", monotonic=clock).take(b"k", rate)


def test_millions_of_addresses_cost_nothing_more(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLD-11: the tables have a fixed size; the window that ends first gives way, and the one that counts most recently stays."""
    monkeypatch.setattr(machine, "_WINDOW_SETS", 1)
    counters = MachineCounters(tmp_path / "counters", boot="one", monotonic=clock)
    size = (tmp_path / "counters").stat().st_size
    rate = Rate("2/1m")
    for number in range(1000):
        counters.take(b"%d" % number, rate, 2)
        clock.now += 0.01
    assert not counters.take(b"999", rate)
    assert counters.take(b"0", rate)
    assert (tmp_path / "counters").stat().st_size == size


def test_a_full_set_refuses_nobody_for_what_others_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLD-11: what finds no place is let in uncounted, and giving it back harms nobody."""
    monkeypatch.setattr(machine, "_HELD_SETS", 1)
    counters = MachineCounters(tmp_path / "counters", boot="one")
    for number in range(16):
        assert counters.hold(b"%d" % number, 1)
    assert counters.hold(b"late", 1)
    assert counters.hold(b"late", 1)
    counters.release(b"late")
    assert counters.held(b"3") == 1
    counters.release(b"3")
    assert counters.hold(b"late", 1)
    assert not counters.hold(b"late", 1)


def test_there_are_places_for_so_many_workers(tmp_path: Path) -> None:
    """One worker too many is told so."""
    members = [MachineCounters(tmp_path / "counters", boot="one") for _ in range(MEMBERS)]
    with pytest.raises(RegionError, match="taken"):
        MachineCounters(tmp_path / "counters", boot="one")
    for member in members:
        member.close()
    MachineCounters(tmp_path / "counters", boot="one").close()


def test_a_file_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """The caller counts alone then."""
    with pytest.raises(RegionError, match="cannot open"):
        MachineCounters(tmp_path / "nowhere" / "counters", boot="one")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RegionError, match="cannot open"):
        MachineCounters(tmp_path / "link", boot="one")


def test_a_disk_without_room_is_told_at_the_start(tmp_path: Path) -> None:
    """RES-02: blocks are had before they are written to: later, a full disk would end the process by a signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(RegionError, match="cannot use"):
            MachineCounters(tmp_path / "counters", boot="one")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    MachineCounters(tmp_path / "counters", boot="one").close()


def test_only_members_take_room_on_the_disk(tmp_path: Path) -> None:
    """Sixty-four columns are promised, and those of the members are there."""
    members = [MachineCounters(tmp_path / "counters", boot="one") for _ in range(2)]
    found = (tmp_path / "counters").stat()
    assert found.st_blocks * 512 < 4_000_000 < found.st_size
    for member in members:
        member.close()


def test_a_lock_that_is_not_given_back_stops_nobody(tmp_path: Path) -> None:
    """A worker that was stopped inside its microseconds of arithmetic does not stop the others."""
    first = MachineCounters(tmp_path / "counters", boot="one")
    second = MachineCounters(tmp_path / "counters", boot="one")
    first._region.lock()
    assert second.take(b"k", Rate("5/1m"))
    first._region.unlock()
    assert second.spent(b"k", Rate("5/1m")) == 1
