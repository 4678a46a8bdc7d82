"""A disk that our own queue fills: refused in time, worked off, and taken up again, without an operator."""

from __future__ import annotations

import os
import signal
import smtplib
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, run_upesi, wait_until
from integration.test_full_disk import small_disk

__all__ = ["small_disk"]

SOON = "[delivery]\nretry = ['1s']\njitter = 0.0\n"


class Client:
    """Sends numbered messages and writes down which were acknowledged."""

    def __init__(self, server: UpesiServer, size: int) -> None:
        self._server = server
        self._body = (b"x" * 70 + b"\r\n") * (size // 72)
        self.number = 0
        self.acknowledged: set[int] = set()
        self.codes: set[int] = set()

    def send(self) -> bool:
        """Send one more; whether it was acknowledged."""
        self.number += 1
        try:
            self._server.send(numbered(self.number, self._body))
        except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
            self.codes.add(error.smtp_code)
            return False
        self.acknowledged.add(self.number)
        return True

    def fill(self) -> None:
        """Send until there is no room, measured several times."""
        refusals = 0
        while refusals < 20:
            refusals += not self.send()


# thousands of messages of the smaller size, delivered while others have the processors
@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [2_000, 120_000])
def test_a_queue_that_fills_its_disk_is_worked_off_and_mail_is_taken_again(
    small_disk: Path, upesi_server: MakeServer, receiver: Receiver, size: int
) -> None:
    """STO-04: on a disk smaller than the log may be elsewhere; a worker that dies meanwhile has a successor, which finds its mail."""
    server = upesi_server(route_to(receiver.port) + SOON, spool=small_disk / "spool", started=False)
    # more than the log takes of this disk: with less, a start warns that what is queued may have to wait for an operator, and so it may
    server.file.write_text(server.file.read_text().replace('min_free = "1MB"', 'min_free = "4MB"'))
    server.start()
    receiver.on_rcpt = lambda path: b"451 4.3.2 not today"
    client = Client(server, size)
    client.fill()
    (pid,) = server.worker_pids()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: server.log.read_text().count('"worker.started"') == 2, 60, "a new worker")
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok"
    wait_until(
        lambda: client.acknowledged <= {number_of(message.data) for message in list(receiver.messages)},
        180,
        f"delivery of all {len(client.acknowledged)}",
    )
    wait_until(client.send, 60, "mail is taken again")
    assert client.codes == {452}


def test_a_disk_that_could_never_take_mail_is_refused_with_what_to_do(
    small_disk: Path, upesi_server: MakeServer
) -> None:
    """A free-space mark beyond the disk would be 452 for ever, and nobody would know why."""
    server = upesi_server("", spool=small_disk / "spool", started=False)
    server.file.write_text(server.file.read_text().replace('min_free = "1MB"', 'min_free = "100MB"'))
    result = run_upesi("serve", "-c", server.file)
    assert result.returncode == 1
    assert "set a smaller spool.min_free" in result.stderr
