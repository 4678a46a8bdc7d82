"""kill -9 of a worker, or of everything, at random moments under load, with an oracle: what got its 250 arrives.

The oracle is on both sides: the client writes down each number that was acknowledged, the next hop each that came.
"""

from __future__ import annotations

import os
import random
import signal
import smtplib
import threading
import time

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until

# Q2: what may come twice is what was between its last octet and our record of the outcome when the kill came
CONNECTIONS = 5
SOON = f"[delivery]\nretry = ['1s']\njitter = 0.0\nsite_connections = {CONNECTIONS}\n"


class Load:
    """Clients that never stop: each number is tried once, so that a number that came twice is our doing."""

    def __init__(self, port: int, clients: int = 8) -> None:
        self._port, self._stop = port, threading.Event()
        self._next, self._lock = 0, threading.Lock()
        self.acknowledged: set[int] = set()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def _take(self) -> int:
        with self._lock:
            self._next += 1
            return self._next

    def _client(self) -> None:
        while not self._stop.is_set():
            try:
                with smtplib.SMTP("127.0.0.1", self._port, timeout=15) as client:
                    while not self._stop.is_set():
                        number = self._take()
                        client.sendmail(
                            "a@example.com", ["b@example.net"], numbered(number, b"x" * (number % 7 * 500) + b"\r\n")
                        )
                        self.acknowledged.add(number)
                        time.sleep(0.002)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)


def _kill_a_worker(server: UpesiServer, chance: random.Random) -> None:
    if workers := server.worker_pids():
        os.kill(chance.choice(workers), signal.SIGKILL)


def _kill_everything(server: UpesiServer, chance: random.Random) -> None:
    server.kill()
    server.start()


def _storm(server: UpesiServer, receiver: Receiver, kills: int, seed: int) -> None:
    """Kill `kills` times under load, then require of the next hop all that was acknowledged."""
    chance = random.Random(seed)
    with Load(server.port) as load:
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.6))
            chance.choice((_kill_a_worker, _kill_everything))(server, chance)
        time.sleep(1)
    wait_until(server.greets, 30, "the server after the storm")
    assert len(load.acknowledged) > kills

    def missing() -> set[int]:
        return load.acknowledged - {number_of(message.data) for message in list(receiver.messages)}

    wait_until(
        lambda: not missing(), 60, f"arrival of all {len(load.acknowledged)} acknowledged messages (seed {seed})"
    )
    came = [number_of(message.data) for message in receiver.messages]
    assert len(came) - len(set(came)) <= 2 * CONNECTIONS * kills


def test_kill_9_loses_nothing_that_was_acknowledged(upesi_server: MakeServer, receiver: Receiver) -> None:
    """Q1 across kill -9 of any process, ten times."""
    _storm(upesi_server(route_to(receiver.port) + SOON, workers=2), receiver, 10, random.randrange(10**9))


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("round_", range(5))
def test_kill_9_two_hundred_times(upesi_server: MakeServer, receiver: Receiver, round_: int) -> None:
    """Q1, Q2 across kill -9 of any process: five storms of fifty."""
    _storm(upesi_server(route_to(receiver.port) + SOON, workers=2), receiver, 50, random.randrange(10**9))
