"""Final delivery: the order of durable steps, what is added, what a full disk does."""

from __future__ import annotations

import asyncio
import errno
import os
import stat

import msgspec
import pytest
from tests.unit.delivery.sendkit import FakeWork, attempt, stored

from upesi.delivery.agents import maildir
from upesi.delivery.agents.discard import DiscardAgent
from upesi.delivery.agents.maildir import MaildirAgent
from upesi.mail.address import Address
from upesi.mail.envelope import BodyType, Recipient, Transmission
from upesi.mail.route import DiscardRoute, MaildirRoute
from upesi.scheduler.work import Destination, Ending


def delivered(root, *attempts):
    """Deliver `attempts` below `root`; return the Work and the texts of the messages, by mailbox."""

    async def main():
        agent = MaildirAgent(asyncio.get_running_loop(), "us/evil.test", lambda: 1.5, os.urandom)
        work = FakeWork(Destination("maildir:r", MaildirRoute(f"{root}/any")), *attempts)
        agent.start(work)
        await work.end.wait()
        agent.close()
        return work

    work = asyncio.run(main())
    found: dict[str, list[bytes]] = {}
    for path in sorted(root.glob("*/new/*")):
        found.setdefault(path.parent.parent.name, []).append(path.read_bytes())
    return work, found


def test_message_is_one_whole_file_in_new(tmp_path):
    """C08, C116: Return-Path and Delivered-To in front, an older Return-Path gone, LF line ends, nothing left in tmp."""
    body = b"return-PATH: <old@x>\r\n folded\r\nSubject: s\r\n\r\nReturn-Path: in the body stays\r\n.\r\n"
    work, found = delivered(tmp_path, attempt("Joe@x.test", body=body))
    assert work.kinds == ["delivered"]
    assert work.ending == (Ending.CLOSED, None)
    assert found == {"joe": [
        b"Return-Path: <a@example.com>\nDelivered-To: Joe@x.test\nReceived: y\nSubject: s\n\nReturn-Path: in the body stays\n.\n"
    ]}  # fmt: skip
    assert not list(tmp_path.glob("*/tmp/*"))


def test_each_recipient_has_a_copy_of_its_own(tmp_path):
    """One message, several mailboxes: a file in each, under different names, with its own Delivered-To."""
    work, found = delivered(tmp_path, attempt("a@x.test", "b@x.test", '"../c"@x.test', path=None), attempt("a@x.test"))
    assert work.kinds == ["delivered"] * 4
    assert {name: len(texts) for name, texts in found.items()} == {"a": 2, "b": 1, "%2e.%2fc": 1}
    assert found["b"][0].startswith(b"Return-Path: <>\nDelivered-To: b@x.test\n")
    names = [path.name for path in tmp_path.glob("*/new/*")]
    assert len(set(names)) == 4
    assert all("/" not in name for name in names)


def test_folders_are_for_our_user_only(tmp_path):
    """Folders are made 0700, files 0600."""
    delivered(tmp_path / "deep" / "root", attempt("joe@x.test"))
    for path in (tmp_path / "deep").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_nothing_counts_before_file_and_folder_are_on_disk(tmp_path, monkeypatch):
    """Q1: write, fsync the file, rename, fsync the folder: in this order, each once."""
    delivered(tmp_path, attempt("joe@x.test"))
    steps = []
    for name in ("fsync", "rename", "write"):
        real = getattr(os, name)

        def step(*arguments, name=name, real=real):
            kind = "folder" if name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode) else ""
            steps.append(name + kind)
            return real(*arguments)

        monkeypatch.setattr(maildir.os, name, step)
    work, _ = delivered(tmp_path, attempt("joe@x.test"))
    assert work.kinds == ["delivered"]
    assert [s for s in steps if s != "write"] == ["fsync", "rename", "fsyncfolder"]
    assert steps.index("fsync") > max(i for i, s in enumerate(steps) if s == "write")


@pytest.mark.parametrize(("call", "code", "status"), [
    ("write", errno.ENOSPC, "4.3.1"), ("write", errno.EDQUOT, "4.2.2"), ("fsync", errno.EIO, "4.3.0"), ("rename", errno.EIO, "4.3.0"),
    ("mkdir", errno.EACCES, "4.3.0"), ("mkdir", errno.ENOSPC, "4.3.1"),
])  # fmt: skip
def test_disk_trouble_defers_and_leaves_nothing(tmp_path, monkeypatch, call, code, status):
    """STO-04: a write that fails puts the recipient off; no half message is to be seen, not even in tmp."""

    def fail(*arguments):
        raise OSError(code, "x")

    monkeypatch.setattr(maildir.os, call, fail)
    work, found = delivered(tmp_path, attempt("joe@x.test"))
    assert (work.first.kind, work.first.status) == ("deferred", status)
    assert not found
    assert not list(tmp_path.glob("*/tmp/*"))


def test_mail_that_was_delivered_here_before_is_a_loop(tmp_path):
    """C116: RFC 9228: Delivered-To of this mailbox in the header ends the loop; in the body it means nothing."""
    message = stored(b"Delivered-To: JOE@x.test\r\nSubject: s\r\n\r\nx\r\n")
    work, found = delivered(tmp_path, attempt("joe@x.test", "ann@x.test", message=message))
    assert work.kinds == ["failed", "delivered"]
    assert work.first.status == "5.4.6"
    assert list(found) == ["ann"]
    assert delivered(tmp_path, attempt("joe@x.test", body=b"Subject: s\r\n\r\nDelivered-To: joe@x.test\r\n"))[
        0
    ].kinds == ["delivered"]


@pytest.mark.parametrize(
    "body", [b"", b"\r\nonly a body\r\n", b"Subject: no body\r\n", b"no end", b"a\r\nb\rc\nd\r\n\r\n\r"]
)
def test_odd_messages_lose_no_octet_but_line_ends(tmp_path, body):
    """An empty message, no header, no body, no final line end: all written as they are, CRLF as LF."""
    _, found = delivered(tmp_path, attempt("joe@x.test", body=body))
    assert found["joe"][0].endswith(b"Received: y\n" + body.replace(b"\r\n", b"\n"))


def test_large_body_in_pieces_is_written_whole(tmp_path):
    """CRLF cut in two at the border of two pieces is still one line end; the header is taken from the first piece only."""

    class Pieces:
        whole = b"Subject: s\r\n\r\n" + b"0123456789\r\n" * 50_000
        size = len(whole)

        def read(self, start, length):
            return self.whole[start : start + length]

        def chunks(self):
            for at in range(0, self.size, 1001):
                yield self.whole[at : at + 1001]

    message = msgspec.structs.replace(stored(), body=Pieces())
    _, found = delivered(tmp_path, attempt("joe@x.test", message=message))
    assert found["joe"][0].endswith(b"Received: y\n" + Pieces.whole.replace(b"\r\n", b"\n"))


def test_discarded_mail_is_said_to_be():
    """Discarding is a delivery that names itself."""

    async def main():
        work = FakeWork(Destination("discard", DiscardRoute()), attempt("a@x.test", "b@x.test"), attempt())
        DiscardAgent(asyncio.get_running_loop()).start(work)
        await work.end.wait()
        return work

    work = asyncio.run(main())
    assert work.kinds == ["delivered"] * 3
    assert work.first.text == "discarded"


def test_binary_mail_is_written_as_it_came(tmp_path):
    """RFC 3030 section 3: octets of BINARYMIME are not lines: none is changed, and the lines that we add end like the others."""
    octets = b"Subject: s\r\n\r\n\x00\r\n\r\r\n\n\xff\r"
    message = msgspec.structs.replace(stored(octets), transmission=Transmission(BodyType.BINARY))
    _, found = delivered(tmp_path, attempt("joe@x.test", message=message))
    assert found["joe"] == [
        b"Return-Path: <a@example.com>\r\nDelivered-To: joe@x.test\r\n" + b"Received: y\r\n" + octets
    ]


@pytest.mark.parametrize("body", [
    b"Dear Joe,\r\nReturn-Path: is what this is about\r\n more\r\n",
    b"Subject: s\r\nno field\r\nReturn-Path: prose\r\n\r\nx\r\n",
    b"\r\nReturn-Path: prose\r\n",
])  # fmt: skip
def test_prose_that_looks_like_a_return_path_stays(tmp_path, body):
    """C08: Return-Path is dropped among the header's fields; what follows the first line that is no field is text."""
    _, found = delivered(tmp_path, attempt("joe@x.test", body=body))
    assert found["joe"][0].endswith(b"Received: y\n" + body.replace(b"\r\n", b"\n"))


def test_a_header_without_an_empty_line_behind_it_is_a_header(tmp_path):
    """C08: a message of fields only loses its older Return-Path too."""
    _, found = delivered(tmp_path, attempt("joe@x.test", body=b"Return-Path: <old@x>\r\n y\r\nSubject: s\r\n"))
    assert found["joe"][0].endswith(b"Received: y\nSubject: s\n")
    assert b"old" not in found["joe"][0]


def test_no_address_can_add_a_line_to_the_header(tmp_path):
    """CVE-2020-8794: line ends in an address that a plugin made become harmless in Return-Path and Delivered-To."""
    evil = Address("a\r\nX-Evil: 1\r\n\r\nb", "x.test")
    message = msgspec.structs.replace(stored(), reverse_path=evil)
    one = attempt("joe@x.test", message=message)
    one = msgspec.structs.replace(one, recipients=(Recipient(evil),))
    work, found = delivered(tmp_path, one)
    assert work.kinds == ["delivered"]
    (text,) = next(iter(found.values()))
    assert [line.split(b":")[0] for line in text.split(b"\n")[:4]] == [
        b"Return-Path", b"Delivered-To", b"Received", b"Subject",
    ]  # fmt: skip
    assert b"\r" not in text
