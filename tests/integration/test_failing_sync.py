"""A disk that fails to sync for a while, end to end: strace puts EIO into a worker's system calls."""

from __future__ import annotations

import contextlib
import shutil
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import PATIENCE, UpesiServer, free_port, wait_until


@contextlib.contextmanager
def failing_syncs(pid: int, trace: Path) -> Iterator[None]:
    """Let every sync of process `pid` fail for the time of the block; skip, saying so, where that cannot be."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("absent: strace")
    calls = "fdatasync,fsync"
    argv = [strace, "-f", "-p", str(pid), "-o", str(trace), "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO"]
    said = trace.with_suffix(".stderr")
    with said.open("wb") as stderr:
        process = subprocess.Popen(argv, stderr=stderr)
    try:
        # it says "Process N attached with M threads"
        wait_until(lambda: " attached" in said.read_text() or process.poll() is not None, what="strace")
        if process.poll() is not None:
            pytest.skip(f"absent: the right to trace a process ({said.read_text().strip()[:200]})")
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)


def test_a_failing_sync_answers_451_and_recovers_without_a_restart(upesi_server: MakeServer, tmp_path: Path) -> None:
    """STO-06, Q1: what could not be synced is never acknowledged; when the disk is well again so is the server, with the same worker."""
    port = free_port()
    server = upesi_server(route_to(port) + "[delivery]\nretry = ['1s']\njitter = 0.0\n")
    server.send(numbered(1))
    acknowledged = {1}
    workers = server.worker_pids()
    replies: set[tuple[int, bytes]] = set()
    with failing_syncs(workers[0], tmp_path / "trace"):
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
