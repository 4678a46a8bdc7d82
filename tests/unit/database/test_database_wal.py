"""Syncing the log from outside, and mending it (docs/adr/0001-wal-sync.md)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from upesi.database.errors import DatabaseCorrupt, DatabaseError, DatabaseGone, DatabaseIoError
from upesi.database.sqlite import PAGE_SIZE, Checkpoint, Database, Integers, Sync
from upesi.database.wal import WalState, WalSync, mend


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.open(tmp_path / "t.db", create=True, sync=Sync.CALLER)
    made.run("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
    made.checkpoint(Checkpoint.TRUNCATE)
    with made.transaction():
        made.insert("t(b)", [(os.urandom(3000),) for _ in range(70)])
    yield made
    made.close()


def test_a_database_that_is_not_there_is_never_made_by_accident(tmp_path: Path) -> None:
    """Without `create` a missing file is an error (STO-07)."""
    with pytest.raises(DatabaseGone):
        Database.open(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_inserts_of_any_number_of_rows_are_whole(database: Database) -> None:
    """Rows beyond one statement go on in the next."""
    assert database.number("SELECT count(*) FROM t") == 70


def test_an_empty_list_of_numbers_matches_nothing(database: Database) -> None:
    """`IN` an empty list is no error and selects no row."""
    assert database.rows("SELECT a FROM t WHERE a IN carray(?)", Integers([])) == []
    assert database.rows("SELECT a FROM t WHERE a IN carray(?) ORDER BY a", Integers([3, 1])) == [(1,), (3,)]


def test_a_value_that_cannot_be_stored_is_an_error_of_its_row(database: Database) -> None:
    """An integer beyond 64 bits is refused and the transaction undone."""
    with pytest.raises(DatabaseError), database.transaction():
        database.insert("t(b)", [(1,), (2**70,)])
    assert database.number("SELECT count(*) FROM t") == 70


def test_a_failed_sync_makes_the_log_suspect_for_everybody(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one failed fdatasync nobody's sync succeeds, however often it is asked, until the log is mended (STO-04)."""
    first, second = WalSync(database.path), WalSync(database.path)
    real = os.fdatasync

    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(DatabaseIoError):
        first.sync()
    monkeypatch.setattr(os, "fdatasync", real)
    for log in (first, second, second):
        with pytest.raises(DatabaseIoError):
            log.sync()
    mend(database.path)
    second.sync()
    first.close()
    second.close()


def test_a_mark_needs_neither_room_nor_a_descriptor(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens the log behind a failed sync is told by the mark alone, so it must not fail for want of an inode or a descriptor."""
    state = WalState(database.path)
    state.clear()

    def fails(path: str, *rest: object) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(os, "open", fails)
        state.mark_suspect()
        state.mark_suspect()
    later = WalSync(database.path)
    with pytest.raises(DatabaseIoError):
        later.sync()
    later.close()
    mend(database.path)
    assert not state.suspect


def test_a_start_needs_no_room_for_marks(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without an inode left must still be worked off."""

    def full(path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("upesi.database.wal._create", full)
    state = WalState(database.path)
    state.clear()
    assert not state.suspect


def test_marks_are_made_of_no_link(database: Database) -> None:
    """Whoever may write into the folder makes no file elsewhere through a process that may do more."""
    victim = database.path.with_name("elsewhere")
    for name in ("t.db-spare", "t.db-suspect"):
        database.path.with_name(name).symlink_to(victim)
    state = WalState(database.path)
    state.clear()
    state.mark_suspect()
    assert not victim.exists()


def test_mending_writes_every_octet_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are dirtied again before they are synced again: header and all frames, unchanged."""
    wal = database.path.with_name("t.db-wal")
    before = wal.read_bytes()
    written: list[tuple[int, int]] = []
    real = os.pwrite

    def watched(descriptor: int, data: bytes, offset: int) -> int:
        written.append((offset, len(data)))
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", watched)
    WalState(database.path).mark_suspect()
    mend(database.path)
    frames, _ = database.checkpoint(Checkpoint.LOOK)
    assert sum(length for _, length in written) == 32 + frames * (PAGE_SIZE + 24)
    assert wal.read_bytes() == before
    assert sorted(path.name for path in database.path.parent.iterdir()) == ["t.db", "t.db-shm", "t.db-wal"]


def test_a_log_that_reads_back_wrong_stays_suspect(database: Database) -> None:
    """A frame that does not match its checksum cannot be mended; nothing is acknowledged from then on."""
    wal = database.path.with_name("t.db-wal")
    with wal.open("r+b") as log:
        log.seek(32 + 24 + 100)
        log.write(b"stale")
    WalState(database.path).mark_suspect()
    with pytest.raises(DatabaseCorrupt):
        mend(database.path)
    assert WalState(database.path).suspect


def test_a_mended_log_that_fails_to_sync_stays_suspect(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark goes only after the sync that proves it."""

    def fails(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    WalState(database.path).mark_suspect()
    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(DatabaseIoError):
        mend(database.path)
    assert WalState(database.path).suspect


@pytest.mark.parametrize("what", ["t.db", "t.db-wal"])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_sync_into_nowhere_is_an_error(database: Database, what: str, how: str) -> None:
    """A file that was removed or replaced under us is noticed at the next sync (STO-07)."""
    log = WalSync(database.path)
    path = database.path.with_name(what)
    path.rename(path.with_name("elsewhere"))
    if how == "replaced":
        path.write_bytes(b"")
    with pytest.raises(DatabaseGone):
        log.sync()
    log.close()


def test_the_log_outlives_its_last_connection(tmp_path: Path) -> None:
    """The log is never unlinked, so a descriptor of it never points to nowhere."""
    database = Database.open(tmp_path / "t.db", create=True)
    database.run("CREATE TABLE t(a)")
    before = (tmp_path / "t.db-wal").stat().st_ino
    database.close()
    assert (tmp_path / "t.db-wal").stat().st_ino == before
