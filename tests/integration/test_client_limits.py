"""What one client may do holds over all workers: real servers, with limits that apply to this machine too."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

from integration.conftest import MakeServer
from integration.server import UpesiServer, wait_until

_ROUTE = """
[[route]]
domains = ["*"]
to = "discard"
"""


def _limits(text: str) -> str:
    return f"{_ROUTE}\n[limits]\nexempt = []\n{text}\n"


class _Client:
    """A connection from one of the machine's loopback addresses."""

    def __init__(self, server: UpesiServer, address: str = "127.0.0.2") -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(address, 0))
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()

    def reply(self) -> bytes:
        """Return one reply, with its lines joined."""
        lines = []
        while line := self.file.readline():
            lines.append(line)
            if line[3:4] != b"-":
                break
        return b"".join(lines)

    def say(self, command: bytes) -> bytes:
        """Send a command and return its reply."""
        self.socket.sendall(command + b"\r\n")
        return self.reply()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def test_one_client_has_no_more_connections_than_its_limit_over_all_workers(upesi_server: MakeServer) -> None:
    """FLD-02: of twelve connections of one address seven stay, whichever worker takes them; others are not touched."""
    server = upesi_server(_limits('connections = 7\nconnection_rate = "none"'), workers=2)
    with ExitStack() as stack:
        greetings = [stack.enter_context(_Client(server)).greeting for _ in range(12)]
        assert sorted(greeting[:4] for greeting in greetings) == [b"220 "] * 7 + [b"421 "] * 5
        assert {greeting for greeting in greetings if greeting.startswith(b"4")} == {
            b"421 4.7.0 Too many connections from your network, try again later\r\n"
        }
        other = stack.enter_context(_Client(server, "127.0.0.3"))
        assert other.greeting.startswith(b"220 ")
        wait_until(lambda: '"client.limited"' in server.tail(), what="the event")

    def all_come_again() -> bool:
        with ExitStack() as stack:
            return all(stack.enter_context(_Client(server)).greeting.startswith(b"220 ") for _ in range(7))

    wait_until(all_come_again, what="room for seven")


def test_a_killed_worker_gives_back_its_clients_places(upesi_server: MakeServer) -> None:
    """RES-03: what a killed worker held is forgotten: its clients may come again."""
    server = upesi_server(_limits('connections = 4\nconnection_rate = "none"'), workers=1)

    def welcome() -> bool:
        try:
            with _Client(server) as client:
                return client.greeting.startswith(b"220 ")
        except ConnectionError:
            return False

    with ExitStack() as stack:
        for _ in range(4):
            assert stack.enter_context(_Client(server)).greeting.startswith(b"220 ")
        assert not welcome()
        (worker,) = server.worker_pids()
        os.kill(worker, signal.SIGKILL)

        wait_until(welcome, patience=30, what="a place")
