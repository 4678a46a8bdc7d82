"""What is stored of a message that plugins changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sessionkit import Dialogue, MemoryIntake

from upesi.hooks.session import Transaction
from upesi.mail.body import Body
from upesi.spool.bodies import BodyFolder, BodyWriter
from upesi.spool.body_file import FileBody

_FORGED = b"Authentication-Results: mx.example.net;\r\n\tspf=pass\r\n"
_HEAD = b"From: a@example.com\r\n" + _FORGED + b"Subject: s\r\n"
_LARGE = b"\r\n" + b"0123456789" * 2000 + b"\r\n"


class _FiledIntake(MemoryIntake):
    """Keeps bodies as a spool does: files beyond 1,000 octets."""

    def __init__(self, folder: BodyFolder) -> None:
        super().__init__()
        self.folder = folder

    def body_writer(self) -> BodyWriter:  # type: ignore[override]
        return self.folder.writer()


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[bytes, Callable[[Transaction], None]], tuple[bytes, Body, Transaction]]:
    """Send a message through a session with a plugin; return what goes in front (without our field), the body, the transaction."""
    folder = BodyFolder(tmp_path, 1000)
    folder.create()

    def send(content: bytes, plugin: Callable[[Transaction], None]) -> tuple[bytes, Body, Transaction]:
        seen: list[Transaction] = []

        def hook(tx: Transaction) -> None:
            seen.append(tx)
            plugin(tx)

        talk = Dialogue(message=hook)
        talk.context.intake = _FiledIntake(folder)  # type: ignore[misc]
        talk.begin("b@example.net")
        (line,) = talk.send(content)
        assert line.startswith("250 "), line
        (message,) = talk.context.intake.accepted  # type: ignore[attr-defined]
        whole = message.prefix + b"".join(message.body.chunks())
        ours = whole.index(b" +0000\r\n") + 8
        return whole[ours:], message.body, seen[0]

    return send


def _change(tx: Transaction) -> None:
    tx.add_header("X-Top", "t")
    assert tx.remove_header("Authentication-Results") == 1
    tx.replace_header("Subject", "[list] s")
    tx.append_header("X-Bottom", "b")


_CHANGED = b"X-Top: t\r\nFrom: a@example.com\r\nSubject: [list] s\r\nX-Bottom: b\r\n"


@pytest.mark.parametrize("rest", [b"\r\nsmall\r\n", _LARGE], ids=["memory", "file"])
def test_what_is_stored_is_what_plugins_saw_last(stored, rest: bytes):  # type: ignore[no-untyped-def]
    """`tx.edited` is stored below our Received field, and `tx.body` stays what came in, even behind the commit."""
    views: list[bytes] = []

    def plugin(tx: Transaction) -> None:
        assert tx.mime.root.size
        _change(tx)
        views.append(b"".join(tx.edited.chunks()))

    below, _, tx = stored(_HEAD + rest, plugin)
    assert below == views[0] == _CHANGED + rest
    assert b"".join(tx.body.chunks()) == _HEAD + rest
    assert b"".join(tx.edited.chunks()) == _CHANGED + rest
    assert tx.mime.root.content() == rest[2:]
    assert tx.mime.root.headers.count("Authentication-Results") == 1


def test_a_large_body_is_not_written_again_for_its_fields(stored, tmp_path: Path):  # type: ignore[no-untyped-def]
    """The session's file is the spool's copy: only the octets of the fields are written over, and the checksum follows."""
    _, body, _ = stored(_HEAD + _LARGE, _change)
    assert isinstance(body, FileBody)
    body.verify()
    assert body.size == len(_HEAD + _LARGE)
    assert len(list((tmp_path / "tmp").iterdir())) <= 1


def test_a_beginning_that_became_shorter_than_what_is_in_front_is_written_anew(stored):  # type: ignore[no-untyped-def]
    """More was removed than our own fields can fill: the file is copied, and nothing is lost."""
    field = b"X-Long: " + b"x" * 900 + b"\r\n"

    def plugin(tx: Transaction) -> None:
        assert tx.remove_header("X-Long") == 1

    below, body, _ = stored(field + _HEAD + _LARGE, plugin)
    assert below == _HEAD + _LARGE
    assert not isinstance(body, FileBody)


def test_a_disk_without_room_for_the_change_defers_the_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """STO: what cannot be written is not accepted."""
    folder = BodyFolder(tmp_path, 1000)
    folder.create()
    talk = Dialogue(message=_change)
    talk.context.intake = _FiledIntake(folder)  # type: ignore[misc]
    talk.begin("b@example.net")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    (line,) = talk.send(_HEAD + _LARGE)
    assert line.startswith("452 4.3.1 "), line
    assert not talk.context.intake.accepted  # type: ignore[attr-defined]
