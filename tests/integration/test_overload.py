"""Overload on real servers: entered and left by itself, with places for our own, and no harm when descriptors run out."""

from __future__ import annotations

import os
import resource
import socket
import time
from contextlib import ExitStack, closing

from integration.conftest import MakeServer
from integration.server import UpesiServer, free_port, wait_until

_ROUTE = """
[[route]]
domains = ["*"]
to = "discard"
"""


def _connect(port: int, address: str = "127.0.0.1") -> tuple[socket.socket, bytes]:
    """Return a connection and the first thing that it says, b"" where it is closed."""
    client = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(address, 0))
    try:
        return client, client.recv(512)
    except ConnectionResetError:
        return client, b""


def _greeted(port: int, address: str = "127.0.0.1") -> bytes:
    client, greeting = _connect(port, address)
    client.close()
    return greeting


def _ticks(pid: int) -> int:
    """Processor time of a process, in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_a_full_listener_makes_idle_clients_leave_and_keeps_places_for_our_own(upesi_server: MakeServer) -> None:
    """FLD-06, FLD-10: at nine tenths of its sessions idle strangers get ten seconds (here one); submission has places all the time."""
    port, submission = free_port(), free_port()
    more = f"""
[[listener]]
address = "127.0.0.1"
port = {port}
max_sessions = 20
[[listener]]
address = "127.0.0.1"
port = {submission}
role = "submission"
{_ROUTE}
[limits]
exempt = []
[overload]
lag = "60s"
command = "1s"
calm = "1s"
reserve = 0.1
"""
    server = upesi_server(more)
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(_connect(port)[0])) for _ in range(18)]
        wait_until(lambda: server.events("overload.began"), what="overload")
        assert server.events("overload.began")[0]["cause"] == "sessions"
        for _ in range(2):
            stack.enter_context(closing(_connect(port)[0]))
        assert _greeted(submission).startswith(b"220 ")
        # idle strangers are sent away, each with its reply
        for client in clients:
            assert client.recv(512).startswith(b"421 4.4.2 ")
        wait_until(lambda: server.events("overload.ended"), what="the end of overload")
    patient, greeting = _connect(port)
    with closing(patient):
        assert greeting.startswith(b"220 ")
        time.sleep(2)
        patient.sendall(b"NOOP\r\n")
        assert patient.recv(512).startswith(b"250 ")


def _worker_with_few_descriptors(server: UpesiServer, spare: int) -> tuple[int, tuple[int, int]]:
    (pid,) = server.worker_pids()
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = len(os.listdir(f"/proc/{pid}/fd")) + spare
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    return pid, before


def test_without_descriptors_clients_hear_why_and_nobody_spins(upesi_server: MakeServer) -> None:
    """RES-01: near the end of its descriptors a worker answers 421 4.3.2; past it, it accepts and closes, and does not spin."""
    server = upesi_server(_ROUTE + '[overload]\nlag = "60s"\ncalm = "1s"\n')
    pid, before = _worker_with_few_descriptors(server, 8)
    wait_until(lambda: server.events("overload.began"), what="overload")
    assert server.events("overload.began")[0]["cause"] == "descriptors"
    for _ in range(10):
        assert _greeted(server.port).startswith(b"421 4.3.2 ")
    burst = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(100)]
    spent, began = _ticks(pid), time.monotonic()
    time.sleep(1)
    # a loop that spins takes all of a processor
    assert (_ticks(pid) - spent) / 100 < 0.5 * (time.monotonic() - began)
    for client in burst:
        client.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    wait_until(lambda: _greeted(server.port).startswith(b"220 "), what="a greeting")
    wait_until(lambda: server.events("overload.ended"), what="the end of overload")
    server.send(b"Subject: x\r\n\r\nHello\r\n")
    assert not server.events("loop.failed")


def test_no_descriptor_at_all_is_survived(upesi_server: MakeServer) -> None:
    """RES-01: with none left at once, whoever comes is accepted and closed; with some again, mail is taken, by the same worker."""
    server = upesi_server(_ROUTE)
    pid, before = _worker_with_few_descriptors(server, 0)
    for _ in range(20):
        assert _greeted(server.port) in (b"", b"421 4.3.2 Too many connections, try again later\r\n")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    wait_until(lambda: _greeted(server.port).startswith(b"220 "), what="a greeting")
    server.send(b"Subject: x\r\n\r\nHello\r\n")
    assert server.worker_pids() == [pid]


class _Talk:
    """A client that says one thing at a time."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")
        self.file.readline()

    def say(self, line: bytes) -> bytes:
        self.socket.sendall(line + b"\r\n")
        return self.file.readline()

    def begin(self) -> bytes:
        """Go as far as DATA; return its reply."""
        self.say(b"HELO client.example.org")
        self.say(b"MAIL FROM:<a@example.org>")
        self.say(b"RCPT TO:<b@example.net>")
        return self.say(b"DATA")

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_message_data_has_a_budget(upesi_server: MakeServer) -> None:
    """FLD-07: past the budget DATA is 452 4.3.1; who is in the midst of a message finishes it, and makes room."""
    server = upesi_server(_ROUTE + '[smtp]\nmemory = "20kB"\n')
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(closing(_Talk(server.port))) for _ in range(3))
        for talk in (first, second):
            assert talk.begin().startswith(b"354 ")
            talk.socket.sendall((b"x" * 70 + b"\r\n") * 200)
        assert third.begin().startswith((b"354 ", b"452 "))

        def refused() -> bool:
            third.say(b".")
            third.say(b"RSET")
            third.say(b"MAIL FROM:<a@example.org>")
            third.say(b"RCPT TO:<b@example.net>")
            return third.say(b"DATA").startswith(b"452 4.3.1 Out of memory")

        wait_until(refused, what="452")
        for talk in (first, second):
            assert talk.say(b".").startswith(b"250 ")
        assert third.say(b"DATA").startswith(b"354 ")
        assert third.say(b".").startswith(b"250 ")
