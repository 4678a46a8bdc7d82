"""Room, checkpoints and history: what the keeper does, step by step, without its thread."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from upesi.database.errors import DatabaseIoError
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


def test_the_free_space_mark_makes_it_full_and_room_makes_it_take_mail_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below min_free new mail is refused; with room again it recovers alone (STO-05)."""
    keeper = keeper_of(database, [], min_free=10_000)
    seen = []
    for free, inodes in ((2, 1000), (3, 1000), (3, 10), (3, 1000)):
        room = SimpleNamespace(f_bavail=free, f_frsize=4096, f_files=100_000, f_favail=inodes)
        monkeypatch.setattr(os, "statvfs", lambda path, room=room: room)
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
