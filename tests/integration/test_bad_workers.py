"""Workers that hang, crash or are stopped: they are replaced, others go on, and what was acknowledged arrives."""

from __future__ import annotations

import contextlib
import os
import signal
import smtplib
import time

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until

PLUGIN = """\
import ctypes
import os

from upesi.plugin import hook


@hook.mail
def obey(tx, sender):
    match sender.local if sender else "":
        case "loop":
            while True:
                pass
        case "exit":
            os._exit(1)
        case "crash":
            ctypes.string_at(0)
"""
SOON = "[delivery]\nretry = ['1s']\njitter = 0.0\n"


@pytest.fixture
def server(upesi_server: MakeServer, receiver: Receiver) -> UpesiServer:
    """One worker, which obeys special senders."""
    server = upesi_server(route_to(receiver.port) + SOON, started=False)
    folder = server.folder / "plugins"
    folder.mkdir()
    (folder / "obey.py").write_text(PLUGIN)
    text = server.file.read_text()
    server.file.write_text(f'{text}\n[plugins]\nenabled = ["relay", "recipients", "obey"]\nfolder = "{folder}"\n')
    return server.start()


def ends_of(server: UpesiServer, event: str) -> int:
    """Count an event in the log."""
    return server.log.read_text().count(f'"{event}"')


def replaced(server: UpesiServer, receiver: Receiver, old: list[int], patience: float) -> None:
    """Wait until the worker `old` has a successor that takes mail, and all that was acknowledged has arrived."""
    wait_until(lambda: ends_of(server, "worker.died") == 1, patience, "worker.died in the log")
    wait_until(lambda: ends_of(server, "worker.started") == 2, 20, "worker.started in the log")
    assert not set(old) & set(server.worker_pids())
    server.send(numbered(100))
    wait_until(
        lambda: {number_of(message.data) for message in list(receiver.messages)} >= {*range(10), 100},
        20,
        "all acknowledged mail at the next hop",
    )


@pytest.mark.parametrize(("sender", "hung"), [("loop", 1), ("exit", 0), ("crash", 0)])
def test_a_worker_that_a_plugin_blocks_or_crashes_is_replaced(
    server: UpesiServer, receiver: Receiver, sender: str, hung: int
) -> None:
    """PLG-02, PLG-03: an endless loop is killed after 5 s, an exit or a crash in C is noticed at once; mail is safe, clients get no 250."""
    old = server.worker_pids()
    receiver.pause = 0.3  # some of it is still queued when the worker ends
    for number in range(10):
        server.send(numbered(number))
    began = time.monotonic()
    with pytest.raises((smtplib.SMTPException, OSError)):
        server.send(numbered(50), sender=f"{sender}@example.com")
    assert time.monotonic() - began < 50
    receiver.pause = 0.0
    replaced(server, receiver, old, 5)
    assert ends_of(server, "worker.hung") == hung
    assert 50 not in {number_of(message.data) for message in receiver.messages}


def test_a_worker_that_is_stopped_is_replaced(server: UpesiServer, receiver: Receiver) -> None:
    """RES: a worker that SIGSTOP holds is as good as hung; after its end it does nothing, so nothing is sent by two at once."""
    old = server.worker_pids()
    for number in range(10):
        server.send(numbered(number))
    # until their ends are recorded, being sent twice is what a worker that vanishes is allowed (Q2)
    wait_until(lambda: ends_of(server, "delivery.delivered") == 10, 20, "ten records of delivery")
    os.kill(old[0], signal.SIGSTOP)
    try:
        replaced(server, receiver, old, 12)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(old[0], signal.SIGCONT)
    assert ends_of(server, "worker.hung") == 1
    assert len(receiver.messages) == 11


def test_half_received_mail_of_a_killed_worker_does_not_stay_on_the_disk(
    server: UpesiServer, receiver: Receiver
) -> None:
    """What a worker was receiving when it was killed is removed when it is buried, while the server runs on."""
    half = server.spool / "tmp"
    with contextlib.closing(smtplib.SMTP("127.0.0.1", server.port, timeout=20)) as client:
        client.ehlo()
        client.mail("a@example.com")
        client.rcpt("b@example.net")
        client.docmd("DATA")
        client.send(b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 20_000)
        wait_until(lambda: list(half.iterdir()), 10, "a body in tmp/")
        (pid,) = server.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ends_of(server, "worker.started") == 2, 20, "worker.started in the log")
    assert list(half.iterdir()) == []
    assert receiver.messages == []
