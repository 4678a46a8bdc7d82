"""Bodies on their way in: memory, then a file that becomes the spool's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.body import MemoryBody
from upesi.mail.ids import MessageId
from upesi.spool.bodies import BodyFolder
from upesi.spool.body_file import FileBody
from upesi.spool.store import SpoolDamaged, SpoolError, SpoolFull

ID = MessageId(bytes(range(16)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> BodyFolder:
    made = BodyFolder(tmp_path_factory.mktemp("spool"), 1000)
    made.create()
    return made


def temporary_files(folder: BodyFolder) -> list[str]:
    return [path.name for path in folder._tmp.iterdir()]


@given(st.lists(st.binary(max_size=700), max_size=12))
def test_what_is_written_is_read_whatever_the_pieces(folder: BodyFolder, pieces: list[bytes]) -> None:
    """Size and octets of the body are those of the pieces, in memory up to the limit and in a file beyond it."""
    writer = folder.writer()
    for piece in pieces:
        writer.write(piece)
    whole = b"".join(pieces)
    assert writer.size == len(whole)
    body = writer.finish()
    assert isinstance(body, FileBody) == (len(whole) > 1000)
    assert body.size == len(whole)
    assert b"".join(body.chunks()) == whole
    assert body.read(3, 10) == whole[3:13]
    if isinstance(body, FileBody):
        body.verify()
    writer.discard()
    assert temporary_files(folder) == []


def test_a_kept_body_is_the_session_s_file_not_a_copy(folder: BodyFolder) -> None:
    """The octets are written once: the stored file is the inode that the session filled."""
    writer = folder.writer()
    writer.write(b"x" * 5000)
    body = writer.finish()
    assert isinstance(body, FileBody)
    inode = body.path.stat().st_ino
    folder.keep(ID, body)
    writer.discard()
    assert folder.path(ID).stat().st_ino == inode
    assert b"".join(body.chunks()) == b"x" * 5000
    folder.remove(ID)
    assert list(folder.all_stored()) == []
    assert b"".join(body.chunks()) == b"x" * 5000


def test_a_body_from_memory_is_kept_as_a_file(folder: BodyFolder) -> None:
    """A large body that never was a file becomes one, and leaves nothing in tmp."""
    folder.keep(ID, MemoryBody(b"y" * 5000))
    assert folder.path(ID).read_bytes() == b"y" * 5000
    assert temporary_files(folder) == []
    folder.remove(ID)


def test_keeping_again_after_a_failure_replaces_what_was_left(folder: BodyFolder) -> None:
    """A file that an attempt left under the name is not taken for the message's body."""
    folder.path(ID).write_bytes(b"old")
    assert not folder.keep(ID, MemoryBody(b"z" * 5000))
    assert folder.path(ID).read_bytes() == b"z" * 5000
    assert temporary_files(folder) == []
    folder.remove(ID)


def test_what_is_not_ours_among_the_bodies_is_left_alone(folder: BodyFolder) -> None:
    """A stray file, or a link, beside the folders stops no start."""
    stray, link = folder._bodies / "stray", folder._bodies / "link"
    stray.write_text("")
    link.symlink_to(stray)
    assert list(folder.all_stored()) == []
    assert stray.exists()
    link.unlink()
    stray.unlink()


def test_keeping_the_same_file_again_changes_nothing(folder: BodyFolder) -> None:
    """A report that is offered again finds its own file under the name."""
    writer = folder.writer()
    writer.write(b"x" * 5000)
    body = writer.finish()
    assert folder.keep(ID, body)
    assert not folder.keep(ID, body)
    writer.discard()
    assert folder.path(ID).read_bytes() == b"x" * 5000
    assert temporary_files(folder) == []
    folder.remove(ID)


def test_a_discarded_body_leaves_nothing(folder: BodyFolder) -> None:
    """A transaction that ends early frees its file."""
    writer = folder.writer()
    writer.write(b"x" * 5000)
    assert len(temporary_files(folder)) == 1
    writer.discard()
    writer.discard()
    assert temporary_files(folder) == []


def test_a_shorter_file_is_damage(folder: BodyFolder) -> None:
    """A body file that has lost its end raises rather than gives less."""
    folder.keep(ID, MemoryBody(b"z" * 5000))
    body = folder.stored(ID, 5001, 0)
    with pytest.raises(SpoolDamaged):
        list(body.chunks())
    folder.remove(ID)


@pytest.mark.parametrize(("number", "error"), [(28, SpoolFull), (122, SpoolFull), (5, SpoolError)])
def test_a_failing_write_says_what_to_answer(
    folder: BodyFolder, monkeypatch: pytest.MonkeyPatch, number: int, error: type[SpoolError]
) -> None:
    """No room is 452, any other error 451 (STO-04)."""

    def fails(descriptor: int, data: bytes) -> int:
        raise OSError(number, "no")

    writer = folder.writer()
    monkeypatch.setattr("os.write", fails)
    with pytest.raises(error) as caught:
        writer.write(b"x" * 5000)
    assert type(caught.value) is error
    writer.discard()


def test_short_writes_are_completed(folder: BodyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that takes less than it was given is followed by another."""
    import os

    real = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: real(descriptor, bytes(data[:700])))
    writer = folder.writer()
    writer.write(b"abcdefgh" * 1000)
    assert b"".join(writer.finish().chunks()) == b"abcdefgh" * 1000
    writer.discard()


def test_bodies_of_a_spool_that_has_gone_are_an_error(tmp_path: Path) -> None:
    """A session is told 451 when the spool's folder has been removed under it (STO-07)."""
    folder = BodyFolder(tmp_path / "gone", 10)
    with pytest.raises(SpoolError):
        folder.writer().write(b"x" * 100)


def test_what_a_dead_worker_was_receiving_is_removed_and_nothing_else(folder: BodyFolder, tmp_path: Path) -> None:
    """Killed workers do not fill the disk: their files go by their pid; those of another pid, also a longer one, stay."""
    other = BodyFolder(tmp_path, 10)
    other.create()
    for name in ("123-a-1", "123-a-2", "1234-a-1", "12-123-1"):
        (tmp_path / "tmp" / name).write_bytes(b"x")
    assert other.clear_temporary_of(123) == 2
    assert sorted(temporary_files(other)) == ["12-123-1", "1234-a-1"]


def test_a_dead_worker_s_files_in_a_spool_that_has_gone_are_no_error(tmp_path: Path) -> None:
    """Burying a worker goes on, whatever has become of the folder."""
    assert BodyFolder(tmp_path / "gone", 10).clear_temporary_of(123) == 0


def test_a_body_file_that_is_not_there_is_damage_only_while_its_folder_is(folder: BodyFolder) -> None:
    """STO-07, STO-18: a lost file will not come back by trying again; a folder that is not mounted may."""
    missing = folder.stored(ID, 5000, 0)
    with pytest.raises(SpoolDamaged, match="not there"):
        missing.verify()
    with pytest.raises(SpoolError) as caught:
        FileBody(folder.path(ID).parent / "unmounted" / "x", 5000, 0).verify()
    assert type(caught.value) is SpoolError
