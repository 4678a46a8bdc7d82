"""Whether the user as whom workers run will be able to read a file that root has read."""

from __future__ import annotations

import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from upesi.runtime import readable
from upesi.runtime.check import check
from upesi.runtime.readable import Unreadable, check_readable


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in a folder, both of our own; "somebody" is a user who is not us, in no group of ours."""
    somebody = SimpleNamespace(pw_uid=tmp_path.stat().st_uid + 1, pw_gid=1)
    monkeypatch.setattr(readable.pwd, "getpwnam", lambda name: somebody if name == "somebody" else pwd.getpwuid(-1))
    monkeypatch.setattr(readable.os, "getgrouplist", lambda name, group: [tmp_path.stat().st_gid + 1])
    # whatever is above it is not what is tested
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "accounts"
    path.write_text("")
    real = readable._open_to
    monkeypatch.setattr(
        readable,
        "_open_to",
        lambda part, uid, groups: part in tmp_path.parents or part == tmp_path or real(part, uid, groups),
    )
    return path


@pytest.mark.parametrize(
    ("folder", "mode", "barred"),
    [
        (0o755, 0o644, ""),
        (0o711, 0o604, ""),
        (0o755, 0o640, "accounts"),
        (0o755, 0o600, "accounts"),
        (0o750, 0o644, "folder"),
    ],
)
def test_the_modes_on_the_way_decide(file: Path, folder: int, mode: int, barred: str) -> None:
    """The message names the file, the user, and what bars the way; it is no temporary error."""
    file.parent.chmod(folder)
    file.chmod(mode)
    if not barred:
        check_readable(file, "somebody")
        return
    with pytest.raises(Unreadable, match=rf"cannot be read by somebody .*{barred}$") as caught:
        check_readable(file, "somebody")
    assert not caught.value.temporary


def test_owner_and_group_have_their_own_bits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """root:upesi 0640 in a folder for everybody is what operators make."""
    file.parent.chmod(0o755)
    file.chmod(0o640)
    monkeypatch.setattr(readable.os, "getgrouplist", lambda name, group: [file.stat().st_gid])
    check_readable(file, "somebody")


def test_a_user_that_is_not_there_is_said_elsewhere(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One complaint for one mistake."""

    def nobody(name: str) -> object:
        raise KeyError(name)

    monkeypatch.setattr(readable.pwd, "getpwnam", nobody)
    file.chmod(0o600)
    check_readable(file, "somebody")


def test_a_check_names_a_user_that_is_not_there(tmp_path: Path) -> None:
    """The start will be refused; the check may come before the user is made, so it is a warning."""
    config = tmp_path / "upesi.toml"
    config.write_text('[node]\nuser = "nosuchuser"\n')
    settings, _ = check(config, ())
    assert str(settings[0]).startswith(f"{config}:2: node.user: there is no user 'nosuchuser' on this machine")
    config.write_text('[node]\nuser = "nobody"\n')
    assert check(config, ()) == ([], [])
