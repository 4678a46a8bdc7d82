"""Stopping and starting with mail in the queue."""

from __future__ import annotations

import smtplib
import socket
import threading

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until

RETRY_SOON = "[delivery]\nretry = ['1s']\njitter = 0.0\n"


def test_queued_mail_survives_a_restart(upesi_server: MakeServer) -> None:
    """Q1: what was acknowledged while the next hop was away is delivered, once, after a restart and when it is back."""
    port = free_port()
    server = upesi_server(route_to(port) + RETRY_SOON)
    for number in range(20):
        server.send(numbered(number))
    assert server.stop() == 0
    server.start()
    with Receiver(port) as receiver:
        messages = receiver.wait_for(20)
    assert sorted(number_of(message.data) for message in messages) == list(range(20))


def test_mail_under_way_when_everything_is_killed_is_sent_after_the_start(upesi_server: MakeServer) -> None:
    """Q1, Q5: deliveries that were ACTIVE in a killed worker are ready again at once."""
    port = free_port()
    with Receiver(port, pause=30) as stuck:
        server = upesi_server(route_to(port))
        for number in range(5):
            server.send(numbered(number))
        server.kill()
        assert stuck.messages == []
    with Receiver(port) as receiver:
        server.start()
        messages = receiver.wait_for(5)
    assert {number_of(message.data) for message in messages} == set(range(5))


def test_sigterm_finishes_a_message_that_is_inside_data(relaying: UpesiServer, receiver: Receiver) -> None:
    """ARCHITECTURE.md: SIGTERM stops accepting and finishes what is inside DATA; the client gets its 250, the message is kept."""
    with (
        socket.create_connection(("127.0.0.1", relaying.port), timeout=15) as client,
        client.makefile("rb") as stream,
    ):
        for line in (b"", b"EHLO a.example", b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.net>", b"DATA"):
            if line:
                client.sendall(line + b"\r\n")
            while (reply := stream.readline())[3:4] == b"-":
                pass
        assert reply.startswith(b"354")
        client.sendall(numbered(1)[:40])
        stopper = threading.Thread(target=relaying.stop)
        stopper.start()
        wait_until(lambda: _refused(relaying.port), what="the end of accepting")
        client.sendall(numbered(1)[40:] + b".\r\n")
        assert stream.readline().startswith(b"250")
    stopper.join(20)
    assert relaying.process is not None
    assert relaying.process.returncode == 0
    if not receiver.messages:
        relaying.start()
    assert number_of(receiver.wait_for(1)[0].data) == 1


def _refused(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", port)) != 0:
            return True
        # Taken by the kernel just before the end: nobody greets, or 421 does
        try:
            return not probe.recv(100).startswith(b"220")
        except OSError:
            return True


def test_sigterm_says_421_to_an_idle_session(relaying: UpesiServer) -> None:
    """RFC 5321 section 3.8: a server that shuts down says 421 before it closes."""
    with smtplib.SMTP("127.0.0.1", relaying.port, timeout=15) as client:
        client.ehlo("a.example")
        assert relaying.stop() == 0
        assert client.getreply()[0] == 421


def test_sigterm_right_behind_the_first_greeting_ends_cleanly(upesi_server: MakeServer) -> None:
    """ARCHITECTURE.md, SIGTERM: whoever answers with 220 can be told to stop; there is no moment in which a signal kills it."""
    server = upesi_server(started=False)
    server.start(until="greeting")
    assert server.stop() == 0
