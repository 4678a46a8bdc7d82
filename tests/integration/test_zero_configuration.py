"""`upesi serve` in an empty folder is a working server for this machine."""

from __future__ import annotations

import os
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.processes import Program, wait_for_greeting

from integration.messages import numbered
from integration.server import PATIENCE, UPESI, free_port, wait_until


@pytest.fixture
def zero(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A server without a configuration file: its port and its folder."""
    port = free_port()
    # The usual ports may be taken on the machine that runs the tests; nothing else is changed
    argv = [str(UPESI), "serve", "--set", f"listener.0.port={port}", "--set", "metrics.port=0"]
    folder = tmp_path / "empty"
    folder.mkdir()
    server = Program(argv, tmp_path / "log", cwd=folder)
    try:
        wait_for_greeting(port, server)
        yield port, folder
    finally:
        status = server.stop(PATIENCE)
    assert status == 0, server.tail(30)


def test_mail_for_this_machine_lands_in_a_maildir(zero: tuple[int, Path]) -> None:
    """A message for somebody@localhost becomes one file in new/ of var/mail/somebody, whole, and nothing is left in tmp/."""
    port, folder = zero
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail("a@example.com", ["somebody@localhost"], numbered(1, b"first\r\nsecond\r\n"))
    maildir = folder / "var" / "mail" / "somebody"
    wait_until(lambda: (maildir / "new").is_dir() and list((maildir / "new").iterdir()), what="a file in new/")
    (file,) = (maildir / "new").iterdir()
    data = file.read_bytes().replace(b"\r\n", b"\n")
    assert data.endswith(b"\n\nfirst\nsecond\n")
    # RFC 5321 section 4.4: final delivery inserts the return path
    assert data.startswith(b"Return-Path: <a@example.com>\n")
    assert list((maildir / "tmp").iterdir()) == []


def test_maildirs_are_closed_to_other_users(zero: tuple[int, Path]) -> None:
    """Mail is private: neither the file nor its folders may be read by others."""
    port, folder = zero
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail("a@example.com", ["somebody@localhost"], numbered(1))
    maildir = folder / "var" / "mail" / "somebody"
    wait_until(lambda: (maildir / "new").is_dir() and list((maildir / "new").iterdir()), what="a file in new/")
    (file,) = (maildir / "new").iterdir()
    assert os.stat(file).st_mode & 0o077 == 0
    assert os.stat(maildir).st_mode & 0o077 == 0


def test_a_second_instance_on_the_same_folder_is_refused(zero: tuple[int, Path]) -> None:
    """The spool belongs to one instance; the second one says so and ends, and the first goes on."""
    port, folder = zero
    argv = [str(UPESI), "serve", "--set", f"listener.0.port={free_port()}", "--set", "metrics.port=0"]
    second = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode != 0
    assert "spool" in (second.stderr + second.stdout).lower()
    assert "Traceback" not in second.stderr
    wait_for_greeting(port)
