"""Room, checkpoints and history: what the keeper does, step by step, without its thread."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from upesi.database.errors import DatabaseFull, DatabaseIoError
from upesi.database.sqlite import Checkpoint, Database, Sync
from upesi.database.wal import WalState
from upesi.spool.keeper import Keeper
from upesi.spool.schema import create


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.open(tmp_path / "spool.db", create=True, sync=Sync.CALLER)
    create(made, "i", 0.0)
    yield made
    made.close()


def keeper_of(database: Database, notices: list[str], *, min_free: int = 0, now: float = 1000.0) -> Keeper:
    return Keeper(database.path, min_free, 100.0, lambda: now, lambda event, text: notices.append(event))


MB = 2**20


def disk_with(monkeypatch: pytest.MonkeyPatch, pages: int, inodes: int = 1000) -> None:
    """Let the disk be one of 16 MB, with so many pages free; the log may take 1 MB of it."""
    room = SimpleNamespace(f_bavail=pages, f_blocks=4096, f_frsize=4096, f_files=100_000, f_favail=inodes)
    monkeypatch.setattr(os, "statvfs", lambda path: room)


def test_the_free_space_mark_makes_it_full_and_room_makes_it_take_mail_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below min_free new mail is refused; with room again it recovers alone (STO-05)."""
    keeper = keeper_of(database, [], min_free=10 * MB)
    seen = []
    for free, inodes in ((2000, 1000), (3000, 1000), (3000, 10), (3000, 1000)):
        disk_with(monkeypatch, free, inodes)
        keeper.measure()
        seen.append(keeper.full)
    assert seen == [True, False, True, False]


def test_a_file_system_that_cannot_be_asked_counts_as_full(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool whose disk does not answer takes no mail."""
    keeper = keeper_of(database, [])

    def fails(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", fails)
    keeper.measure()
    assert keeper.full


def fill(database: Database, frames: int) -> None:
    database.run("CREATE TABLE IF NOT EXISTS filler(a, b)")
    with database.transaction():
        database.insert("filler(a, b)", [(n, os.urandom(3900)) for n in range(frames)])


def test_the_log_is_bounded(database: Database) -> None:
    """However much is written, the log starts anew at some 64 MB: its file does not grow beyond that and one burst."""
    keeper = keeper_of(database, [])
    for _ in range(24):
        fill(database, 2000)
        keeper.tick()
    size = database.path.with_name("spool.db-wal").stat().st_size
    assert 2 * size < 24 * 2000 * 4096
    assert size < 100 * 2**20
    keeper._discard()


def test_a_failed_checkpoint_stops_checkpoints_and_nothing_else(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an I/O error the log keeps everything until a start with recovery; it is loud about it (ADR 1)."""
    notices: list[str] = []
    keeper = keeper_of(database, notices)
    fill(database, 5000)
    real = Database.checkpoint

    def fails(self: Database, how: Checkpoint) -> tuple[int, int]:
        if how is Checkpoint.LOOK:
            return real(self, how)
        raise DatabaseIoError("disk I/O error")

    monkeypatch.setattr(Database, "checkpoint", fails)
    with pytest.raises(DatabaseIoError):
        keeper.tick()
    monkeypatch.setattr(Database, "checkpoint", real)
    state = WalState(database.path)
    assert (notices, state.stale, state.suspect) == (["spool.checkpoint.failed"], True, True)
    keeper.tick()
    frames, copied = database.checkpoint(Checkpoint.LOOK)
    assert frames > 5000
    assert copied == 0
    keeper._discard()


def test_history_is_pruned_by_age_and_its_last_event_stays(database: Database) -> None:
    """Old events go, young ones and the newest of all stay, so that positions never come twice."""
    keeper = keeper_of(database, [])
    with database.transaction():
        database.insert("event(at, kind, message, fields)", [(float(n), "k", b"m", b"\x80") for n in range(880, 920)])
    keeper.tick()
    assert [at for (at,) in database.rows("SELECT at FROM event ORDER BY position")] == [
        float(n) for n in range(900, 920)
    ]
    late = keeper_of(database, [], now=99_999.0)
    late.tick()
    assert database.rows("SELECT position, at FROM event") == [(40, 919.0)]
    keeper._discard()
    late._discard()


def test_what_is_free_inside_the_database_counts_as_room(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database does not shrink: where a long queue filled the disk and was worked off, mail is taken again (STO-04)."""
    keeper = keeper_of(database, [], min_free=4 * MB)
    fill(database, 2000)
    disk_with(monkeypatch, 500)  # 2 MB
    keeper.tick()
    keeper.measure()
    assert keeper.full
    database.run("DELETE FROM filler")
    keeper.tick()
    keeper.measure()
    assert not keeper.full
    disk_with(monkeypatch, 0)
    database.checkpoint(Checkpoint.TRUNCATE)
    keeper.measure()
    assert keeper.full, "the log has no room to take what would come"
    keeper._discard()


def test_a_small_disk_is_full_before_it_is_measured_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two measurements no more is taken than a part of what is left, however fast it comes."""
    keeper = keeper_of(database, [], min_free=4 * MB)
    disk_with(monkeypatch, 3072)  # 12 MB: 8 may be taken
    keeper.measure()
    keeper.take(MB)
    assert not keeper.full
    keeper.take(MB + 1)
    assert keeper.full
    keeper.measure()
    assert not keeper.full


def test_on_a_full_disk_the_log_starts_anew_often_and_gives_back_what_a_burst_took(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends deliveries must be written somewhere: the place that the log has is used again; what it should not have goes back."""
    keeper = keeper_of(database, [], min_free=4 * MB)
    disk_with(monkeypatch, 100)
    keeper.tick()
    log = database.path.with_name("spool.db-wal")
    sizes = []
    for frames in (2000, 100, 100, 100):
        fill(database, frames)
        keeper.measure()
        assert keeper.full
        keeper.tick()
        sizes.append(log.stat().st_size)
    assert sizes[0] == 0
    assert max(sizes) < MB
    keeper._discard()


def test_a_checkpoint_without_room_is_complained_of_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times a second the same line would fill the log of a machine that is out of room already."""
    notices: list[str] = []
    keeper = keeper_of(database, notices)

    def fails(self: Database, how: Checkpoint) -> tuple[int, int]:
        raise DatabaseFull("database or disk is full")

    monkeypatch.setattr(Database, "checkpoint", fails)
    monkeypatch.setattr("upesi.spool.keeper._TICK", 0.001)
    keeper.start()
    while not keeper._rest or keeper._rest > 200:
        time.sleep(0.001)
    keeper.close()
    assert notices == ["spool.keeper.failed"]


def test_queues_that_hold_nothing_are_removed_a_bounded_number_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every domain that was ever mailed would stay in the table, and in every backup of it."""
    monkeypatch.setattr("upesi.spool.keeper._KEYS", 10)
    keeper = keeper_of(database, [])
    counts = {f"mx:{n:02}": (n % 3 == 0, n % 7 == 0, n % 11 == 0, n == 23) for n in range(1, 36)}
    with database.transaction():
        database.insert(
            "queue(key, shard, routing, ready, active, held)",
            [(key, 0, *map(int, held)) for key, held in counts.items()],
        )
    left = []
    for _ in range(5):
        keeper.tick()
        left.append(database.number("SELECT count(*) FROM queue"))
    kept = [key for key, held in counts.items() if any(held)]
    assert [key for (key,) in database.rows("SELECT key FROM queue ORDER BY key")] == kept
    assert left == [35 - sum(not any(held) for held in list(counts.values())[: 10 * turn]) for turn in (1, 2, 3, 4, 4)]
    keeper._discard()
