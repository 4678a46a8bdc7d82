"""HAProxy in front of us, speaking both versions of the PROXY protocol: the client that we see is the one that HAProxy sees."""

from __future__ import annotations

import smtplib
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.conftest import MakeServer, program
from integration.receiver import Receiver
from integration.server import PATIENCE, UpesiServer, free_port, listens, wait_until
from upesi.tls.selfsigned import self_signed

# any address of the loopback can be a client's
CLIENT = "127.0.0.77"

_CONFIG = """\
global
    maxconn 100
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout check 30s
listen front
    bind 127.0.0.1:{front} {bind}
    server upesi 127.0.0.1:{back} {options}
"""

# HAProxy's port, and options of its own side of it
MakeHaproxy = Callable[..., int]


@pytest.fixture
def haproxy(tmp_path: Path) -> Iterator[MakeHaproxy]:
    """Start HAProxy instances: `haproxy(port, options of its server line, of its bind line)` returns the port of its front."""
    processes: list[subprocess.Popen[bytes]] = []

    def make(back: int, options: str, bind: str = "") -> int:
        front = free_port()
        file = tmp_path / f"haproxy-{len(processes)}.cfg"
        file.write_text(_CONFIG.format(front=front, back=back, options=options, bind=bind))
        with (tmp_path / "haproxy.log").open("ab") as log:
            argv = [program("haproxy"), "-db", "-f", str(file)]
            processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        # no connection: HAProxy would make one of its own of it
        wait_until(lambda: listens(front), what="HAProxy's port")
        return front

    yield make
    for process in processes:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture
def behind(upesi_server: MakeServer, receiver: Receiver) -> tuple[UpesiServer, int]:
    """A server with one listener for everybody and one behind proxies of this machine; the port of the latter."""
    port = free_port()
    more = (
        f'[[route]]\ndomains = ["*"]\nto = "smtp://127.0.0.1:{receiver.port}"\n'
        f'[[listener]]\nname = "behind"\nport = {port}\nproxy = ["127.0.0.0/8"]\n'
        '[smtp.timeouts]\nproxy = "1s"\n'
    )
    return upesi_server(more), port


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_the_client_is_the_one_that_haproxy_sees(
    behind: tuple[UpesiServer, int], haproxy: MakeHaproxy, receiver: Receiver, options: str
) -> None:
    """PRX-02: HAProxy's header of either version: Received and the log name the client, and the proxy beside it."""
    server, port = behind
    front = haproxy(port, options)
    with smtplib.SMTP("127.0.0.1", front, timeout=20, source_address=(CLIENT, 0)) as client:
        client.ehlo("client.example")
        client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nhello\r\n")
    (message,) = receiver.wait_for(1)
    assert message.data.startswith(f"Received: from client.example ([{CLIENT}])".encode())
    wait_until(lambda: [event for event in server.events("session.ended") if event["client"] == CLIENT])
    (ended,) = [event for event in server.events("session.ended") if event["client"] == CLIENT]
    assert (ended["via"], ended["listener"]) == ("127.0.0.1", "behind")


def test_health_checks_are_haproxys_own(behind: tuple[UpesiServer, int], haproxy: MakeHaproxy) -> None:
    """PRX-02: checks come with LOCAL: HAProxy finds the server up, and no client is made up for them."""
    server, port = behind
    # the interval is also how long HAProxy waits for the connection, and a check that it gives up is a connection without a header
    haproxy(port, "send-proxy-v2 check-send-proxy check inter 10s")
    wait_until(lambda: server.events("session.ended"), what="a health check")
    assert all(event["client"] == "127.0.0.1" and "via" not in event for event in server.events("session.ended"))
    assert server.events("proxy.refused") == []


def test_haproxy_that_sends_no_header_is_closed(behind: tuple[UpesiServer, int], haproxy: MakeHaproxy) -> None:
    """PRX-02: without a header nobody is greeted, and the wait for one ends."""
    server, port = behind
    front = haproxy(port, "")
    with socket.create_connection(("127.0.0.1", front), timeout=20) as client:
        assert client.recv(100) == b""
    wait_until(lambda: server.events("proxy.refused"))
    (refused,) = server.events("proxy.refused")
    assert refused["reason"] == "no header in time", refused


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_a_header_is_nothing_where_no_proxy_is_listed(
    behind: tuple[UpesiServer, int], haproxy: MakeHaproxy, options: str
) -> None:
    """PRX-01: to a listener without proxies a header is no SMTP: the client is sent away, and stays who it was."""
    server, _ = behind
    front = haproxy(server.port, options)
    with socket.create_connection(("127.0.0.1", front), timeout=20) as client:
        heard = b""
        while piece := client.recv(1000):
            heard += piece
    assert b"\r\n421 4.7.0 " in heard
    assert b"\r\n250" not in heard


def _verifying_nobody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_tls_that_ends_at_haproxy_is_told_of(
    behind: tuple[UpesiServer, int], haproxy: MakeHaproxy, tmp_path: Path, receiver: Receiver
) -> None:
    """The TLV about TLS as HAProxy writes it: told in the log, and no protection of ours: Received says ESMTP."""
    server, port = behind
    pair = tmp_path / "front.pem"
    pair.write_bytes(self_signed("front.example"))
    front = haproxy(port, "send-proxy-v2-ssl-cn", f"ssl crt {pair}")
    with smtplib.SMTP_SSL(
        "127.0.0.1", front, timeout=20, source_address=(CLIENT, 0), context=_verifying_nobody()
    ) as client:
        client.ehlo("client.example")
        client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nhello\r\n")
    (message,) = receiver.wait_for(1)
    assert b"\tby upesi.test with ESMTP id " in message.data
    wait_until(lambda: [event for event in server.events("session.ended") if event["client"] == CLIENT])
    (ended,) = [event for event in server.events("session.ended") if event["client"] == CLIENT]
    assert ended["proxy"] == "version 2 from 127.0.0.1, TLSv1.3 at the proxy"
    assert "tls" not in ended


def test_tls_goes_through_haproxy_behind_its_header(
    upesi_server: MakeServer, haproxy: MakeHaproxy, receiver: Receiver
) -> None:
    """PRX-02: HAProxy passes TLS on: the header comes first, then the ClientHello, mostly in the same segment."""
    port = free_port()
    more = (
        f'[[route]]\ndomains = ["*"]\nto = "smtp://127.0.0.1:{receiver.port}"\n'
        f'[[listener]]\nport = {port}\ntls = "implicit"\nproxy = ["127.0.0.0/8"]\n'
        '[tls]\ncertificates = "certificates"\n'
    )
    server = upesi_server(more, started=False)
    folder = server.folder / "certificates"
    folder.mkdir()
    pair = folder / "upesi.test.pem"
    pair.touch(mode=0o600)
    pair.write_bytes(self_signed("upesi.test"))
    server.start()
    for options in ("send-proxy", "send-proxy-v2"):
        front = haproxy(port, options)
        with smtplib.SMTP_SSL(
            "127.0.0.1", front, timeout=20, source_address=(CLIENT, 0), context=_verifying_nobody()
        ) as client:
            client.ehlo("client.example")
            client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nhello\r\n")
    for message in receiver.wait_for(2):
        assert message.data.startswith(f"Received: from client.example ([{CLIENT}])".encode())
        assert b" with ESMTPS" in message.data
