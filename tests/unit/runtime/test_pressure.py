"""What a worker measures of itself, and what it does where that cannot be had."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from upesi.config.units import Rate
from upesi.runtime.pressure import Resident, descriptor_limit, machine_memory, open_descriptors
from upesi.runtime.shared import open_counters
from upesi.store.keys import KeysUnavailable
from upesi.store.lifetimes import SqliteKeys


def test_descriptors_are_counted() -> None:
    """RES-01: what is opened shows, and what is closed."""
    before = open_descriptors()
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
    assert open_descriptors() >= before + 50
    for descriptor in held:
        os.close(descriptor)
    assert open_descriptors() <= before + 1
    assert descriptor_limit() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_an_older_kernel_counts_by_the_lowest_free_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """RES-01: before Linux 6.2 /proc does not say how many there are."""
    exact = open_descriptors()
    real = os.stat

    def stat(path: object, **more: object) -> object:
        found = real(path, **more)  # type: ignore[call-overload]
        return os.stat_result((*found[:6], 0, *found[7:])) if path == "/proc/self/fd" else found

    monkeypatch.setattr(os, "stat", stat)
    assert 0 < open_descriptors() <= exact + 1


def test_memory_is_measured() -> None:
    """RES-03: a hundred megabytes show, and the machine has more than that."""
    resident = Resident()
    before = resident()
    block = bytearray(os.urandom(1 << 20)) * 100
    assert resident() - before > 90_000_000
    del block
    assert machine_memory() > 100_000_000


def test_counters_that_cannot_be_shared_are_kept_alone(tmp_path: Path) -> None:
    """RES-02: where the file cannot be had the worker counts for itself, says so, and goes on."""
    events: list[tuple[str, dict[str, object]]] = []
    counters = open_counters(tmp_path / "nowhere", lambda name, fields: events.append((name, fields)))
    assert [name for name, _ in events] == ["store.unshared"]
    rate = Rate("2/1m")
    assert [counters.take(b"k", rate) for _ in range(3)] == [True, True, False]
    counters.close()
    shared = open_counters(tmp_path, lambda name, fields: events.append((name, fields)))
    assert len(events) == 1
    assert (tmp_path / "counters-1").stat().st_mode & 0o777 == 0o600
    shared.close()


async def test_no_thread_for_keys_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RES-02: a system that has no thread for us now is the same as a store that cannot be asked."""
    keys = SqliteKeys(tmp_path / "keys.db", lambda: 0.0)

    def submit(*_: object) -> object:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(keys._thread, "submit", submit)
        with pytest.raises(KeysUnavailable):
            await keys.get("k")
    assert await keys.get("k") is None
    await keys.close()
