"""The file of accounts: what is read, what is refused, how it is written, and when it is read again."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from lookupkit import InlinePool, cheap_hash

from upesi.lookup.account_file import changing, read_file
from upesi.lookup.failures import LookupFailed
from upesi.lookup.file import FileTable
from upesi.lookup.private import FileRefused, read_secret

HASH = cheap_hash("sesame")


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_comments_blanks_and_case(tmp_path: Path) -> None:
    """A user is found however the case of its letters is typed, and is called as the file spells it."""
    path = written(tmp_path / "accounts", f"# ours\n\nAnna@Example.org  {HASH} \t@example.org\r\n")
    words, _ = read_file(path)
    assert words == {"anna@example.org": ("name=Anna@Example.org", HASH, "@example.org")}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"anna {HASH}\nbert\n", ":2: has no hash"),
        (f"anna {HASH}\nANNA {HASH}\n", ":2: names an account for the second time"),
        ("anna secret\n", ":1: has a word that is neither"),
        (f"anna\u2028{HASH} secret\n", ":1: has a word"),
    ],
)
def test_a_line_that_cannot_be_used_refuses_the_whole_file(tmp_path: Path, text: str, complaint: str) -> None:
    """Where one account is unreadable nobody can tell who else is: the line is named, its words are not (AUT-05)."""
    path = written(tmp_path / "accounts", text)
    with pytest.raises(FileRefused) as caught:
        read_file(path)
    assert complaint in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620, 0o660, 0o601])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    """A hash that leaks is guessed at leisure; whoever may write can let himself in."""
    path = written(tmp_path / "accounts", f"anna {HASH}\n", mode)
    with pytest.raises(FileRefused, match="chmod 600"):
        read_file(path)


def test_the_group_may_read(tmp_path: Path) -> None:
    """root:upesi 0640 is how distributions keep secrets."""
    assert read_file(written(tmp_path / "accounts", f"anna {HASH}\n", 0o640))[0]


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever owns it decides who we let in; root looks after the files of others."""
    path = written(tmp_path / "accounts", f"anna {HASH}\n")
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert read_file(path)[0]
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner != 0:
        with pytest.raises(FileRefused, match="another user"):
            read_file(path)
    else:
        os.chown(path, 65534, -1)
        with pytest.raises(FileRefused, match="another user"):
            read_file(path)


@pytest.mark.parametrize(
    ("octets", "secret"),
    [(b"sesame\n", "sesame"), (b"sesame", "sesame"), (b"open sesame\r\nmore\n", "open sesame"), (b"", None),
     (b"\nsesame\n", None), (b"\xff\n", None), (b"a\tb\n", None), (b"x" * 5000, None)],
)  # fmt: skip
def test_a_secret_of_ours_is_the_first_line_of_a_private_file(
    tmp_path: Path, octets: bytes, secret: str | None
) -> None:
    """Our own password for a source is kept like everybody else's."""
    path = tmp_path / "secret"
    path.write_bytes(octets)
    path.chmod(0o600)
    if secret is None:
        with pytest.raises(FileRefused):
            read_secret(path)
    else:
        assert read_secret(path) == secret
        path.chmod(0o604)
        with pytest.raises(FileRefused, match="chmod 600"):
            read_secret(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, nothing, a file that is too large or not text."""
    for path in (tmp_path, tmp_path / "absent", written(tmp_path / "binary", "")):
        if path.name == "binary":
            path.write_bytes(b"anna \xff\n")
        with pytest.raises(FileRefused):
            read_file(path)


def test_accounts_are_added_changed_and_removed(tmp_path: Path) -> None:
    """The other lines, comments too, stay as they were."""
    path = written(tmp_path / "accounts", f"# ours\nanna {HASH}\nbert {HASH}\n")
    other = cheap_hash("other")
    with changing(path) as file:
        file.put("ANNA", [other])
        file.put("carl", [HASH])
    assert path.read_text() == f"# ours\nANNA {other}\nbert {HASH}\ncarl {HASH}\n"
    with changing(path) as file:
        assert file.remove("Bert")
        assert not file.remove("bert")
        assert file.find("anna") is not None
        assert file.find("bert") is None
    assert path.read_text() == f"# ours\nANNA {other}\ncarl {HASH}\n"


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600 from the first octet, whatever the umask; nothing else is left in the folder."""
    old = os.umask(0)
    try:
        with changing(tmp_path / "accounts") as file:
            file.put("anna", [HASH])
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "accounts").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["accounts"]


def test_rights_and_links_survive_a_change(tmp_path: Path) -> None:
    """A link stays a link; a group that may read goes on reading."""
    target = written(tmp_path / "target", f"anna {HASH}\n", 0o640)
    link = tmp_path / "accounts"
    link.symlink_to(target)
    with changing(link) as file:
        file.put("bert", [HASH])
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert set(read_file(link)[0]) == {"anna", "bert"}


def test_a_change_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk loses no account and leaves no rubbish."""
    path = written(tmp_path / "accounts", f"anna {HASH}\n")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileRefused, match="No space left"), changing(path) as file:
        file.put("bert", [HASH])
    assert path.read_text() == f"anna {HASH}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["accounts"]


def test_writers_take_turns(tmp_path: Path) -> None:
    """Ten that add at once add ten."""
    path = tmp_path / "accounts"

    def add(number: int) -> None:
        with changing(path) as file:
            file.put(f"user{number}", [HASH])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_file(path)[0]) == 10


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """A table over a file, its clock and its events."""

    def __init__(self, path: Path) -> None:
        self.events: list[tuple[str, Mapping[str, str | int]]] = []
        self.clock = Clock()
        self.pool = InlinePool()
        self.table = FileTable(path, self.pool, self.clock, lambda *event: self.events.append(event))  # type: ignore[arg-type]

    async def users(self, *names: str) -> list[bool]:
        """Let a while go by, and say which of the users are there."""
        self.clock.now += 10
        return [await self.table.get(name) is not None for name in names]


async def test_a_changed_file_counts(tmp_path: Path) -> None:
    """Whoever was added is let in, whoever was removed is not, without a restart; reading happens in a thread."""
    path = written(tmp_path / "accounts", f"anna {HASH}\n")
    world = World(path)
    assert await world.users("anna", "Anna", "bert") == [True, True, False]
    assert world.pool.ran == []
    with changing(path) as file:
        file.put("bert", [HASH])
        file.remove("anna")
    assert await world.users("anna", "bert") == [False, True]
    assert world.pool.ran == ["read_file"]
    assert [name for name, _ in world.events] == ["accounts.reloaded"]


async def test_a_broken_file_changes_nothing_and_is_complained_about_once(tmp_path: Path) -> None:
    """The old accounts stay in force; the one event says where the mistake is; mended, the file counts."""
    path = written(tmp_path / "accounts", f"anna {HASH}\n")
    world = World(path)
    for text, mode in ((f"anna {HASH}\nbert secret\n", 0o600), (f"bert {HASH}\n", 0o644)):
        written(path, text, mode)
        assert await world.users("anna", "bert") == [True, False]
        assert await world.users("anna", "bert") == [True, False]
    assert [name for name, _ in world.events] == ["accounts.refused"] * 2
    assert "accounts:2" in str(world.events[0][1]["error"])
    path.chmod(0o600)  # the same octets, readable by nobody else now
    assert await world.users("anna", "bert") == [False, True]
    path.unlink()
    assert await world.users("anna", "bert") == [False, True]
    assert [name for name, _ in world.events][2:] == ["accounts.reloaded", "accounts.refused"]


async def test_a_change_is_not_lost_when_nobody_had_time_to_read_it(tmp_path: Path) -> None:
    """A pool that is full makes one login wait for later, not the change forgotten."""
    path = written(tmp_path / "accounts", f"anna {HASH}\n")
    world = World(path)
    written(path, f"bert {HASH}\n")

    async def full(*arguments: object) -> None:
        raise LookupFailed("too much waits for it")

    run, world.pool.run = world.pool.run, full  # type: ignore[method-assign,assignment]
    with pytest.raises(LookupFailed):
        await world.users("bert")
    world.pool.run = run  # type: ignore[method-assign]
    assert await world.users("bert") == [True]


async def test_a_worker_that_is_born_over_a_broken_file_waits_for_a_good_one(tmp_path: Path) -> None:
    """AUT-07: there are no old accounts that could stay, so there is no answer; mail goes on, and the mended file counts."""
    path = written(tmp_path / "accounts", "anna secret\n")
    world = World(path)
    for _ in range(2):
        with pytest.raises(LookupFailed):
            await world.users("anna")
    assert [name for name, _ in world.events] == ["accounts.refused"]
    written(path, f"anna {HASH}\n")
    assert await world.users("anna", "bert") == [True, False]
