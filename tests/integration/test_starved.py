"""Servers that get too little: processor time, memory."""

from __future__ import annotations

import os
import signal
import smtplib
import threading
import time

import pytest
from bench.processes import family

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import wait_until

_SECONDS = 8


def test_a_starved_server_kills_no_worker_and_takes_mail(upesi_server: MakeServer, receiver: Receiver) -> None:
    """RES-06: with a tenth of the time, in slices, heartbeats are late and mail is slow; the same workers go on, and all arrives."""
    server = upesi_server(route_to(receiver.port), workers=2)
    members, workers = family(server.pid), set(server.worker_pids())
    over = threading.Event()

    def starve() -> None:
        while not over.is_set():
            for sig, pause in ((signal.SIGSTOP, 0.09), (signal.SIGCONT, 0.01)):
                for pid in members:
                    os.kill(pid, sig)
                time.sleep(pause)

    thread = threading.Thread(target=starve)
    thread.start()
    try:
        end, sent = time.monotonic() + _SECONDS, 0
        while time.monotonic() < end:
            server.send(numbered(sent))
            sent += 1
    finally:
        over.set()
        thread.join()
    assert sent > 0
    assert set(server.worker_pids()) == workers
    messages = receiver.wait_for(sent)
    assert {number_of(message.data) for message in messages} == set(range(sent))
    assert '"worker.hung"' not in server.log.read_text()


def test_a_worker_at_its_memory_refuses_new_mail_and_goes_on(upesi_server: MakeServer, receiver: Receiver) -> None:
    """RES-03: at `overload.memory` MAIL is 452 4.3.1, told as overload; nothing is killed, and with room again mail is taken."""
    server = upesi_server(started=False)
    (server.folder / "plugins").mkdir()
    # more than what is left of the least that may be set
    (server.folder / "plugins" / "ballast.py").write_text(
        'from upesi.plugin import hook\n\nBALLAST = b"x" * 40_000_000\n\n\n@hook.rcpt\ndef heavy(tx, recipient):\n    return None\n'
    )
    server.configure(
        route_to(receiver.port)
        + '[plugins]\nenabled = ["relay", "ballast"]\nfolder = "plugins"\n[overload]\nlag = "60s"\nmemory = "64MB"\n'
    )
    server.start()
    wait_until(lambda: '"overload.began"' in server.log.read_text(), what="overload")
    assert '"cause":"memory"' in server.log.read_text()
    with smtplib.SMTP("127.0.0.1", server.port, "client.example.org", timeout=20) as client:
        assert client.helo()[0] == 250
        code, text = client.mail("a@example.com")
        assert (code, text) == (452, b"4.3.1 Out of memory for now, try again later")
    with pytest.raises(smtplib.SMTPSenderRefused):
        server.send(numbered(0))
    before = set(server.worker_pids())
    server.configure(route_to(receiver.port))
    server.reload()
    wait_until(lambda: not before & set(server.worker_pids()), 30, "the new worker")
    server.send(numbered(1))
    assert number_of(receiver.wait_for(1)[0].data) == 1
