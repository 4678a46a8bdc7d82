"""REQUIRETLS over two servers of ours, and where it cannot be had."""

from __future__ import annotations

import shutil
import smtplib
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.authority import Authority
from integration.conftest import MakeServer, route_to
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until

SENDER = "a@example.com"


@pytest.fixture
def authority() -> Iterator[Authority]:
    """An authority that both servers know."""
    folder = Path(tempfile.mkdtemp(prefix="upesi-tls-", dir="/var/tmp"))
    yield Authority(folder)
    shutil.rmtree(folder, ignore_errors=True)


def secured(make: MakeServer, authority: Authority, more: str) -> UpesiServer:
    """Start a server whose listener offers STARTTLS."""
    server = make(more, started=False)
    folder = server.folder / "certificates"
    folder.mkdir()
    pair = folder / "localhost.pem"
    pair.write_text(authority.certificate.read_text() + authority.key.read_text())
    pair.chmod(0o600)
    text = server.file.read_text().replace(f"port = {server.port}\n", f'port = {server.port}\ntls = "starttls"\n')
    server.file.write_text(text + f'\n[tls]\ncertificates = "{folder}"\n')
    return server.start()


def submit(port: int, authority: Authority, *parameters: str) -> None:
    """Hand in one message inside TLS."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20, local_hostname="client.test") as client:
        client.ehlo()
        assert "requiretls" not in client.esmtp_features
        context = ssl.create_default_context(cafile=str(authority.file))
        client.starttls(context=context)
        client.ehlo()
        assert "requiretls" in client.esmtp_features
        assert client.mail(SENDER, ["REQUIRETLS", *parameters])[0] == 250
        assert client.rcpt("b@example.net")[0] == 250
        assert client.data(b"Subject: secret\r\n\r\nthe text\r\n")[0] == 250


def local(box: Path) -> str:
    return f'[[route]]\ndomains = ["example.net"]\nto = "maildir:{box}"\n'


def test_the_next_server_gets_it_with_the_same_demand(
    upesi_server: MakeServer, authority: Authority, receiver: Receiver, tmp_path: Path
) -> None:
    """C97: over verified TLS to a server that offers REQUIRETLS, which holds it to the same (RFC 8689 section 4.2.1)."""
    second = secured(upesi_server, authority, local(tmp_path / "boxes") + route_to(receiver.port))
    trust = f'[[destination]]\ndomains = ["*"]\ntls = "verify"\ntls_authorities = "{authority.file}"\n'
    first = secured(upesi_server, authority, route_to(second.port) + trust)
    submit(first.port, authority)
    wait_until(lambda: list(tmp_path.glob("boxes/b/new/*")), what="the message at its second server")
    (file,) = tmp_path.glob("boxes/b/new/*")
    assert file.read_text().count("with ESMTPS") == 2
    wait_until(lambda: '"delivery.delivered"' in first.log.read_text(), what="the outcome")
    (line,) = [line for line in first.log.read_text().splitlines() if '"delivery.delivered"' in line]
    assert " verified" in line
    assert receiver.messages == []


def test_where_it_cannot_be_had_the_sender_is_told(
    upesi_server: MakeServer, authority: Authority, receiver: Receiver
) -> None:
    """C97: a server in clear gets nothing but the notice, without the body although RET=FULL (RFC 8689 sections 4.2.1 and 5)."""
    server = secured(upesi_server, authority, route_to(receiver.port))
    submit(server.port, authority, "RET=FULL")
    wait_until(lambda: receiver.messages, patience=20, what="the notice")
    (notice,) = receiver.messages
    assert notice.reverse_path == ""
    assert notice.forward_paths == (SENDER,)
    assert b"Action: failed\r\nStatus: 5.7." in notice.data
    assert b"Subject: secret" in notice.data
    assert b"the text" not in notice.data
