"""AUTH end to end: a real server of two workers, a plugin that knows passwords, and clients that other people wrote."""

from __future__ import annotations

import base64
import smtplib
import subprocess
from pathlib import Path

import pytest

from integration.conftest import MakeServer, program, route_to
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until

PASSWORD = "canary-5e8a secret"
PLUGIN = f"""
import hmac
from upesi.plugin import accept, hook, reject

@hook.auth
def judge(session, credentials):
    if credentials.user == "carl":
        return reject("5.7.8", "Carl has left")
    if credentials.user in ("anna", "dora") and hmac.compare_digest(credentials.password or "", {PASSWORD!r}):
        return accept(f"{{credentials.user}}@example.org")
"""
CONFIG = """
[plugins]
enabled = ["max_hops", "gate"]
folder = "plugins"

[auth]
delay = "10ms"
longest_delay = "10ms"
pair_failures = "4/1h"
"""


def started(make: MakeServer, receiver: Receiver) -> tuple[UpesiServer, int]:
    """Start a server with a second listener, on which AUTH may be spoken without TLS; return it and that port."""
    port = free_port()
    server = make(CONFIG + route_to(receiver.port), started=False, workers=2)
    Path(server.folder, "plugins").mkdir()
    Path(server.folder, "plugins", "gate.py").write_text(PLUGIN)
    listener = f'[[listener]]\naddress = "127.0.0.1"\nport = {port}\nauth.without_tls = true\n\n[plugins.relay]'
    server.file.write_text(server.file.read_text().replace("[plugins.relay]", listener))
    return server.start(), port


def swaks(port: int, mechanism: str, user: str, password: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("swaks"), "--server", f"127.0.0.1:{port}", "--auth", mechanism, "--auth-user", user, "--auth-password", password,
         "--auth-hide-password", "--quit-after", "AUTH"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def codes(port: int, user: str, *passwords: str) -> list[int]:
    """Try passwords, each over a connection of its own; return what was answered."""
    said = []
    for password in passwords:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.ehlo()
            message = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
            said.append(client.docmd("AUTH", f"PLAIN {message}")[0])
    return said


def test_a_plugin_lets_clients_in(upesi_server: MakeServer, receiver: Receiver) -> None:
    """RFC 4954, AUT-04, AUT-05: smtplib and swaks authenticate and send; without, nothing is relayed; locks hold over all workers."""
    server, port = started(upesi_server, receiver)
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("anna@example.org", ["far@example.com"], b"Subject: x\r\n\r\nx\r\n")
        client.login("anna", PASSWORD)
        client.sendmail("anna@example.org", ["far@example.com"], b"From: anna@example.org\r\nSubject: in\r\n\r\nx\r\n")
    wait_until(lambda: receiver.messages, what="the message")
    assert b" with ESMTPA id " in receiver.messages[0].data
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features

    # real peer: swaks with each mechanism that a plugin can judge, right and wrong
    for mechanism in ("PLAIN", "LOGIN"):
        for user, password, status in (("anna", PASSWORD, 0), ("anna", "wrong", 28), ("carl", PASSWORD, 28)):
            result = swaks(port, mechanism, user, password)
            assert result.returncode == status, result.stdout
            assert ("235 2.7.0" in result.stdout) is (status == 0)

    # four failures, whichever worker heard them, lock the account for this network; another account is not
    assert codes(port, "dora", PASSWORD, "1", "2", "3", "4") == [235, 535, 535, 535, 535]
    assert codes(port, "dora", *[PASSWORD] * 6) == [454] * 6
    assert codes(port, "anna", PASSWORD) == [235]

    assert server.stop() == 0
    log = server.log.read_text()
    assert "canary" not in log
    assert '"identity":"anna@example.org"' in log
    assert '"reason":"locked","detail":"account from this network is locked"' in log
