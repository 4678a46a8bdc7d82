"""A disk that is full, end to end: a small file system of its own for the spool."""

from __future__ import annotations

import os
import smtplib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import wait_until


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A tmpfs of 24 MB; needs root and the right to mount. To be asked for before the server, which must end before the disk goes."""
    if os.geteuid() != 0:
        pytest.skip("absent: root, to mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="upesi-disk-", dir="/var/tmp"))
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mount.returncode != 0:
        folder.rmdir()
        pytest.skip(f"absent: the right to mount a small file system ({mount.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
    folder.rmdir()


def _fill(folder: Path) -> Path:
    """Take all the room there is, as another program would."""
    file = folder / "ballast"
    with file.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"\0" * 65536)
        except OSError:
            return file


def test_a_full_disk_answers_452_and_recovers(small_disk: Path, upesi_server: MakeServer, receiver: Receiver) -> None:
    """STO-04: without room mail is refused with 452 4.3.1, nothing acknowledged is lost, and it goes on by itself when there is room."""
    server = upesi_server(route_to(receiver.port), spool=small_disk / "spool")
    server.send(numbered(1))
    receiver.wait_for(1)
    ballast = _fill(small_disk)
    acknowledged = {1}
    codes: set[tuple[int, bytes | str]] = set()

    def refused() -> bool:
        """Send until the server notices; it measures once a second."""
        number = len(acknowledged) + len(codes) + 100
        try:
            server.send(numbered(number))
        except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
            codes.add((error.smtp_code, error.smtp_error[:5]))
            return (452, b"4.3.1") in codes
        except smtplib.SMTPRecipientsRefused as error:
            codes.update((code, text[:5]) for code, text in error.recipients.values())
            return (452, b"4.3.1") in codes
        acknowledged.add(number)
        return False

    wait_until(refused, what="452 4.3.1")
    assert {code // 100 for code, _ in codes} == {4}
    ballast.unlink()

    def taken() -> bool:
        try:
            server.send(numbered(9999))
        except smtplib.SMTPException:
            return False
        acknowledged.add(9999)
        return True

    wait_until(taken, what="recovery")
    wait_until(
        lambda: acknowledged <= {number_of(message.data) for message in receiver.messages}, what="delivery of all"
    )
