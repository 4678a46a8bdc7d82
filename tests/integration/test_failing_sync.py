"""A disk that fails to sync for a while, end to end: strace puts EIO into a worker's system calls."""

from __future__ import annotations

import smtplib
import time
from pathlib import Path

from integration.conftest import MakeServer, route_to
from integration.injection import failing_calls
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until


def test_a_failing_sync_answers_451_and_recovers_without_a_restart(upesi_server: MakeServer, tmp_path: Path) -> None:
    """STO-06, Q1: what could not be synced is never acknowledged; when the disk is well again so is the server, with the same worker."""
    port = free_port()
    server = upesi_server(route_to(port) + "[delivery]\nretry = ['1s']\njitter = 0.0\n")
    server.send(numbered(1))
    acknowledged = {1}
    workers = server.worker_pids()
    replies: set[tuple[int, bytes]] = set()
    with failing_calls(workers[0], tmp_path / "trace", "fdatasync,fsync", "EIO"):
        for number in range(100, 106):
            _try(server, number, acknowledged, replies)
            time.sleep(0.3)
    assert "EIO" in (tmp_path / "trace").read_text()
    assert acknowledged == {1}
    assert replies == {(451, b"4.3.0")}

    def taken() -> bool:
        _try(server, 200, acknowledged, replies)
        return 200 in acknowledged

    wait_until(taken, 20, "recovery")
    assert server.worker_pids() == workers
    # everything that was acknowledged is in the spool for good
    server.kill()
    with Receiver(port) as receiver:
        server.start()
        wait_until(lambda: acknowledged <= {number_of(each.data) for each in list(receiver.messages)}, 20, "all mail")


def _try(server: UpesiServer, number: int, acknowledged: set[int], replies: set[tuple[int, bytes]]) -> None:
    try:
        server.send(numbered(number))
    except smtplib.SMTPDataError as error:
        text = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
        replies.add((error.smtp_code, text[:5]))
    else:
        acknowledged.add(number)
