"""What one client may do holds over all workers: real servers, with limits that apply to this machine too."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack

from integration.conftest import MakeServer
from integration.server import UpesiServer, free_port, wait_until

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
        wait_until(lambda: server.events("client.limited"), what="the event")

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


def _behind_proxy(stack: ExitStack, port: int, family: str, address: str) -> bytes:
    """Return the greeting of a client that a proxy names."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
    local = "192.0.2.1" if family == "TCP4" else "2001:db8::1"
    client.sendall(f"PROXY {family} {address} {local} 40000 25\r\n".encode())
    return client.recv(512)


def test_behind_a_proxy_the_client_counts_and_ipv6_by_its_64(upesi_server: MakeServer) -> None:
    """FLD-02: whom the proxy names is limited, not the proxy; all of a /64 is one client, over all workers."""
    port = free_port()
    listener = f'[[listener]]\naddress = "127.0.0.1"\nport = {port}\nproxy = ["127.0.0.1/32"]\n'
    upesi_server(listener + _limits('connections = 3\nconnection_rate = "none"'), workers=2)
    with ExitStack() as stack:
        same = [_behind_proxy(stack, port, "TCP6", f"2001:db8:1:2::{number:x}")[:4] for number in range(1, 7)]
        assert sorted(same) == [b"220 "] * 3 + [b"421 "] * 3
        assert _behind_proxy(stack, port, "TCP6", "2001:db8:1:3::1").startswith(b"220 ")
        four = [_behind_proxy(stack, port, "TCP4", "203.0.113.7")[:4] for _ in range(5)]
        assert sorted(four) == [b"220 "] * 3 + [b"421 "] * 2
        assert _behind_proxy(stack, port, "TCP4", "203.0.113.8").startswith(b"220 ")


def test_messages_of_one_client_are_exact_over_all_workers(upesi_server: MakeServer) -> None:
    """`limits.messages`: of thirty sessions each with a message eleven bring it, whichever worker has them."""
    server = upesi_server(_limits('connections = 0\nconnection_rate = "none"\nmessages = "11/10m"'), workers=2)
    with ExitStack() as stack:
        clients = [stack.enter_context(_Client(server)) for _ in range(30)]
        for client in clients:
            client.say(b"HELO client.example.org")
        replies = [client.say(b"MAIL FROM:<a@example.org>") for client in clients]
    assert sorted(reply[:9] for reply in replies) == [b"250 2.1.0"] * 11 + [b"450 4.7.1"] * 19


def test_limits_hold_through_a_reload(upesi_server: MakeServer) -> None:
    """FLD-02: what a client did before a reload counts behind it, and connections that old workers still hold count too."""
    text = _limits('connections = 4\nconnection_rate = "none"\nmessages = "3/10m"')
    server = upesi_server(text, workers=2)
    before = set(server.worker_pids())
    with ExitStack() as stack:
        clients = [stack.enter_context(_Client(server)) for _ in range(4)]
        for client in clients:
            client.say(b"HELO client.example.org")
        assert [client.say(b"MAIL FROM:<a@example.org>")[:3] for client in clients] == [b"250"] * 3 + [b"450"]
        server.reload()
        wait_until(lambda: len(set(server.worker_pids()) - before) == 2, 30, "the new workers")
        assert stack.enter_context(_Client(server)).greeting.startswith(b"421 4.7.0 ")
        clients[0].close()

        def room() -> bool:
            client = stack.enter_context(_Client(server))
            if not client.greeting.startswith(b"220 "):
                return False
            client.say(b"HELO client.example.org")
            assert client.say(b"MAIL FROM:<a@example.org>").startswith(b"450 4.7.1 ")
            return True

        wait_until(room, what="room for one")
