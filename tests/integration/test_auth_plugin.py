"""AUTH end to end: a real server, a plugin that knows passwords, and clients that other people wrote."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Callable
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
    if credentials.user == "anna" and hmac.compare_digest(credentials.password or "", {PASSWORD!r}):
        return accept("anna@example.org")
"""


@pytest.fixture
def submission(upesi_server: MakeServer, receiver: Receiver) -> Callable[[], tuple[UpesiServer, int]]:
    """A server with a second listener, on which AUTH may be spoken without TLS, and with the plugin."""

    def make() -> tuple[UpesiServer, int]:
        port = free_port()
        more = f"""
[plugins]
enabled = ["max_hops", "gate"]
folder = "plugins"

[auth]
delay = "10ms"

{route_to(receiver.port)}
"""
        server = upesi_server(more, started=False)
        Path(server.folder, "plugins").mkdir()
        Path(server.folder, "plugins", "gate.py").write_text(PLUGIN)
        text = server.file.read_text()
        second = f'[[listener]]\naddress = "127.0.0.1"\nport = {port}\nauth.without_tls = true\n\n[plugins.relay]'
        server.file.write_text(text.replace("[plugins.relay]", second))
        return server.start(), port

    return make


def test_an_authenticated_client_may_send(
    submission: Callable[[], tuple[UpesiServer, int]], receiver: Receiver
) -> None:
    """RFC 4954: smtplib authenticates with PLAIN and with LOGIN, and its mail goes out; without, it is not relayed."""
    server, port = submission()
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
    assert server.stop() == 0
    assert "canary" not in server.log.read_text()
    assert '"identity":"anna@example.org"' in server.log.read_text()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_authenticates(submission: Callable[[], tuple[UpesiServer, int]], mechanism: str) -> None:
    """Real peer: swaks with each mechanism that a plugin can judge, right and wrong."""
    swaks = program("swaks")
    _, port = submission()
    for user, password, status in (("anna", PASSWORD, 0), ("anna", "wrong", 28), ("carl", PASSWORD, 28)):
        result = subprocess.run(
            [swaks, "--server", f"127.0.0.1:{port}", "--auth", mechanism, "--auth-user", user, "--auth-password", password,
             "--auth-hide-password", "--quit-after", "AUTH"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert result.returncode == status, result.stdout
        assert ("235 2.7.0" in result.stdout) is (status == 0)
