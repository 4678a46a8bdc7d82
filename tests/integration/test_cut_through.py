"""A server beside a slow disk: 250 as soon as the receivers have the mail, and as soon as the disk has it where they have not (ADR 7).

The disk is held while the mail comes in: who is answered then has not waited for it.
"""

from __future__ import annotations

import smtplib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import PATIENCE, UpesiServer, wait_until
from integration.slow_disk import SlowDisk
from integration.test_kill9 import Load

_OFTEN = "[delivery]\nretry = ['1s']\njitter = 0.0\n"
# Seconds in which a receiver's 250 would long have become ours
_LONG = 0.5


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    """The disk of the servers that the test starts."""
    return SlowDisk(tmp_path, monkeypatch)


def _numbers(receiver: Receiver) -> set[int]:
    return {number_of(message.data) for message in list(receiver.messages)}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_receivers_250_is_said_before_the_sync(
    disk: SlowDisk, upesi_server: MakeServer, receiver: Receiver, workers: int
) -> None:
    """Whichever worker the session is with: the mail is with its receiver, and the disk has not moved."""
    server = upesi_server(route_to(receiver.port), workers)
    disk.meet(lambda: server.send(numbered(0)))
    with disk.held():
        for number in range(1, 9):
            server.send(numbered(number))
        assert _numbers(receiver) == set(range(9))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_receiver_puts_off_is_answered_by_the_disk(
    disk: SlowDisk, upesi_server: MakeServer, receiver: Receiver, workers: int
) -> None:
    """A 4xx to the recipient: nobody else has the mail, so 250 comes behind the sync; it is sent when the receiver will have it."""
    server = upesi_server(route_to(receiver.port) + _OFTEN, workers)
    disk.meet(lambda: server.send(numbered(0)))
    put_off: list[str] = []

    def later(path: str) -> bytes:
        put_off.append(path)
        return b"451 4.2.1 later"

    receiver.on_rcpt = later
    with ThreadPoolExecutor() as pool, disk.held():
        sent = pool.submit(server.send, numbered(1))
        wait_until(lambda: put_off, what="an attempt before the sync")
        time.sleep(_LONG)
        assert not sent.done()
    sent.result()
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok"
    wait_until(lambda: 1 in _numbers(receiver), what="the next attempt")


def test_an_operator_has_the_disk_decide_alone(disk: SlowDisk, upesi_server: MakeServer, receiver: Receiver) -> None:
    """`spool.cut_through=false`: neither is it answered before the sync, nor sent."""
    server = upesi_server(route_to(receiver.port), started=False)
    server.arguments = ("--set", "spool.cut_through=false")
    server.start()
    disk.meet(lambda: server.send(numbered(0)), 4)
    with ThreadPoolExecutor() as pool, disk.held():
        sent = pool.submit(server.send, numbered(1))
        time.sleep(2 * _LONG)
        assert not sent.done()
        assert _numbers(receiver) == {0}
    sent.result()
    wait_until(lambda: 1 in _numbers(receiver), what="the mail behind its sync")


def _sessions(server: UpesiServer, each: int) -> list[smtplib.SMTP]:
    """Return sessions, `each` with every worker: the kernel chooses, so as many as it takes."""
    found: Counter[int] = Counter()
    sessions: list[smtplib.SMTP] = []
    while len(found) < server.workers or min(found.values()) < each:
        assert len(sessions) < 100, "every session went to one worker"
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
        sessions.append(client)
        seen = len(server.events("transaction.accepted"))
        client.sendmail("a@example.com", ["b@example.net"], numbered(0))
        wait_until(lambda seen=seen: len(server.events("transaction.accepted")) > seen, what="its event")
        found[server.events("transaction.accepted")[-1]["worker"]] += 1
    return sessions


def test_sessions_with_every_worker_are_answered_early(
    disk: SlowDisk, upesi_server: MakeServer, receiver: Receiver
) -> None:
    """All mail goes to one site, and so from one worker: what the other takes in is handed over, and answered as soon."""
    server = upesi_server(route_to(receiver.port), workers=2)
    clients = _sessions(server, 3)
    disk.meet(lambda: server.send(numbered(0)))

    def send(part: int) -> None:
        for number in range(10):
            clients[part].sendmail("a@example.com", ["b@example.net"], numbered(1 + 10 * part + number))

    with ThreadPoolExecutor(len(clients)) as pool, disk.held():
        for sent in [pool.submit(send, part) for part in range(len(clients))]:
            sent.result()
        assert _numbers(receiver) == set(range(1 + 10 * len(clients)))
    for client in clients:
        client.quit()


def test_kill_9_amid_what_the_disk_does_not_have_loses_nothing(
    disk: SlowDisk, upesi_server: MakeServer, receiver: Receiver
) -> None:
    """Q1: what was answered for its receiver is with it, and what was not is in the spool. No sync ends between the two."""
    server = upesi_server(route_to(receiver.port) + _OFTEN, workers=2)
    disk.meet(lambda: server.send(numbered(0)))
    asked: list[str] = []

    def sometimes(path: str) -> bytes:
        asked.append(path)
        return b"250 2.1.5 ok" if len(asked) % 40 else b"451 4.2.1 later"

    receiver.on_rcpt = sometimes
    with Load(server.port) as load:
        # some that the disk has and their receiver has not, then many the other way round
        wait_until(lambda: len(asked) > 80, what="traffic")
        with disk.held():
            before = len(load.acknowledged)
            wait_until(lambda: len(load.acknowledged) > before + 100, what="answers before the sync")
            server.kill()
    # quick again; its clients have gone
    server.start()
    wait_until(
        lambda: load.acknowledged <= _numbers(receiver), what=f"arrival of all {len(load.acknowledged)} answered"
    )
