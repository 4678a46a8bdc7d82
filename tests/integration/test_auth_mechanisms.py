"""Every mechanism end to end: a real server with TLS and its own accounts, and others' clients (msmtp, swaks, curl, smtplib).

The password is a canary: behind every test nothing that the server has written anywhere holds it (AUT-05).
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import smtplib
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.sasl.saslkit import ScramClient

from integration.conftest import program
from integration.server import UpesiServer, free_port, wait_until
from integration.tls_server import Authority, write
from upesi.lookup.account_file import changing
from upesi.lookup.accounts import new_words
from upesi.sasl.credentials import Ability, Identity

PASSWORD = "canary-9f31 schlüssel"
USER = "anna@example.org"
ISSUER = "https://issuer.example"
KEY = ec.generate_private_key(ec.SECP256R1())

_CONFIG = """\
[[listener]]
address = "127.0.0.1"
port = {port}
name = "submission"
role = "submission"
tls = "required"
client_certificates = "ask"
client_authorities = "{folder}/authority.crt"

[tls]
certificates = "{folder}/certificates"

[[credentials]]
source = "file:{folder}/accounts"
scram = true

[auth]
delay = "10ms"
longest_delay = "10ms"
network_failures = "none"
pair_failures = "none"
account_failures = "none"

[auth.oauth]
keys = "http://127.0.0.1:{issuer}/keys"
issuer = "{name}"
audience = "smtp"

[[route]]
domains = ["*"]
to = "discard"
"""


class Issuer(http.server.BaseHTTPRequestHandler):
    """Publishes one key."""

    def do_GET(self) -> None:
        public = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key()))
        body = json.dumps({"keys": [{**public, "alg": "ES256", "kid": "k"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def issuer() -> Iterator[int]:
    """The port of an issuer of tokens."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Issuer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


class World:
    """A server, its submission port, and what clients need."""

    def __init__(self, folder: Path, issuer: int) -> None:
        authority = Authority()
        self.folder, self.port = folder, free_port()
        self.shown = authority.issue("localhost")
        write(folder / "certificates", "localhost.pem", self.shown.both)
        write(folder, "authority.crt", authority.pem)
        mine = authority.issue(USER, "laptop.example.org")
        self.certificate = write(folder, "anna.pem", mine.pem)
        self.key = write(folder, "anna.key", mine.key)
        self.stranger = write(folder, "stranger.pem", authority.issue("bert@example.org").both)
        self._accounts(folder / "accounts")
        more = _CONFIG.format(port=self.port, folder=folder, issuer=issuer, name=ISSUER)
        self.server = UpesiServer(folder / "upesi", more)
        # nobody is believed for the address
        text = self.server.file.read_text().replace("127.0.0.0/8", "192.0.2.0/24")
        self.server.file.write_text(text)
        self.server.start()

    @staticmethod
    def _accounts(path: Path) -> None:
        with changing(path) as accounts:
            accounts.put(USER, new_words(Identity(USER), PASSWORD, kept=(Ability.SCRAM_SHA_256,)))

    def count(self, mechanism: str) -> int:
        """How often somebody has come in with `mechanism`, as the log says; it is written a moment later."""
        lines = self.server.log.read_text().splitlines()
        events = [event for event in map(json.loads, lines) if event["event"] == "auth.succeeded"]
        assert all(event["identity"] == USER for event in events)
        return sum(event["mechanism"] == mechanism for event in events)

    def came_in(self, mechanism: str, before: int) -> None:
        """Wait for the event of one more."""
        wait_until(lambda: self.count(mechanism) == before + 1, what=f"one more with {mechanism}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, issuer: int) -> Iterator[World]:
    """One server for all tests here; behind them it ends cleanly, and nothing it wrote holds a secret."""
    world = World(tmp_path_factory.mktemp("auth"), issuer)
    yield world
    assert world.server.stop() == 0, world.server.tail()
    needles = secrets()
    written = [world.server.log, *(path for path in world.server.spool.rglob("*") if path.is_file())]
    for path in written:
        data = path.read_bytes()
        assert not [needle for needle in needles if needle in data], f"{path.name} holds a secret"


def secrets() -> list[bytes]:
    """The password, the token, and their base64 in whatever place it begins."""
    found = []
    for secret in (PASSWORD.encode(), b"canary-9f31", token().encode()[:80]):
        found.append(secret)
        for shift in range(3):
            encoded = base64.b64encode(b"x" * shift + secret)
            found.append(encoded[4 if shift else 0 : -8])
    return found


def token(**changed: object) -> str:
    claims = {"iss": ISSUER, "aud": "smtp", "exp": int(time.time()) + 600, "email": USER, **changed}
    return jwt.encode(claims, KEY, "ES256", headers={"kid": "k"})


def msmtp(world: World, method: str, secret: str, user: str = USER, more: str = "") -> subprocess.CompletedProcess[str]:
    """Send a message with msmtp and one mechanism."""
    config = write(world.folder, "msmtprc", (
        f"defaults\ntls on\ntls_starttls on\ntls_certcheck off\nlogfile\naccount default\nhost 127.0.0.1\nport {world.port}\n"
        f'from {USER}\nauth {method}\nuser {user}\npassword "{secret}"\n{more}\n'
    ).encode())  # fmt: skip
    return subprocess.run(
        [program("msmtp"), "-C", str(config), "-d", "far@example.com"],
        input=f"From: {USER}\nSubject: x\n\nHello\n", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "name"),
    [("plain", "PLAIN"), ("login", "LOGIN"), ("scram-sha-256", "SCRAM-SHA-256")],
)
def test_msmtp_with_a_password(world: World, method: str, name: str) -> None:
    """Real peer: msmtp sends with the right password, and is refused with a wrong one and as a user that is none."""
    before = world.count(name)
    result = msmtp(world, method, PASSWORD)
    assert result.returncode == 0, result.stderr + result.stdout
    world.came_in(name, before)
    for user, password in ((USER, "wrong"), ("nobody@example.org", PASSWORD)):
        result = msmtp(world, method, password, user)
        assert result.returncode == 77, result.stderr + result.stdout
        assert "535 5.7.8" in result.stdout


@pytest.mark.parametrize(("method", "name"), [("oauthbearer", "OAUTHBEARER"), ("xoauth2", "XOAUTH2")])
def test_msmtp_with_a_token(world: World, method: str, name: str) -> None:
    """Real peer, AUT-09: msmtp with a token of the issuer's; expired and another service's are refused behind the round of JSON."""
    before = world.count(name)
    result = msmtp(world, method, token())
    assert result.returncode == 0, result.stderr + result.stdout
    world.came_in(name, before)
    for bad in (token(exp=int(time.time()) - 600), token(aud="imap"), token(email="bert@example.org")):
        result = msmtp(world, method, bad)
        assert result.returncode == 77, result.stderr + result.stdout


def test_msmtp_with_a_certificate(world: World) -> None:
    """Real peer, AUT-09: EXTERNAL with a certificate of ours; one of a user who has no account lets nobody in, and none offers nothing."""
    mine = f"tls_cert_file {world.certificate}\ntls_key_file {world.key}"
    before = world.count("EXTERNAL")
    result = msmtp(world, "external", "", more=mine)
    assert result.returncode == 0, result.stderr + result.stdout
    world.came_in("EXTERNAL", before)
    theirs = f"tls_cert_file {world.stranger}\ntls_key_file {world.stranger}"
    for more in (theirs, ""):
        assert msmtp(world, "external", "", more=more).returncode != 0
    assert world.count("EXTERNAL") == before + 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_under_tls(world: World, mechanism: str) -> None:
    """Real peer: swaks over STARTTLS; before it nothing is offered, so swaks says nothing."""
    swaks = [program("swaks"), "--server", f"127.0.0.1:{world.port}", "--auth-user", USER, "--quit-after", "AUTH"]
    for arguments, status in (
        (["--tls", "--auth", mechanism, "--auth-password", PASSWORD], 0),
        (["--tls", "--auth", mechanism, "--auth-password", "wrong"], 28),
        (["--auth", mechanism, "--auth-password", PASSWORD], 28),
    ):
        result = subprocess.run([*swaks, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == status, result.stdout + result.stderr


def test_curl_with_a_token(world: World) -> None:
    """Real peer: curl sends with OAUTHBEARER."""
    message = write(world.folder, "message", f"From: {USER}\r\nSubject: x\r\n\r\nHello\r\n".encode())
    result = subprocess.run(
        [program("curl"), "-sS", "--ssl-reqd", "-k", f"smtp://127.0.0.1:{world.port}", "--mail-from", USER, "--mail-rcpt",
         "far@example.com", "--upload-file", str(message), "--user", USER, "--oauth2-bearer", token()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def connected(world: World, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> smtplib.SMTP:
    """Return smtplib under TLS."""
    context = ssl.create_default_context(cafile=str(world.folder / "authority.crt"))
    context.maximum_version = version
    client = smtplib.SMTP("localhost", world.port, timeout=30, local_hostname="client.example.org")
    client.starttls(context=context)
    client.ehlo()
    return client


@pytest.mark.parametrize(
    ("version", "name"),
    [
        (ssl.TLSVersion.TLSv1_3, "tls-server-end-point"),
        (ssl.TLSVersion.TLSv1_2, "tls-server-end-point"),
        (ssl.TLSVersion.TLSv1_2, "tls-unique"),
    ],
)
def test_a_client_that_binds_to_the_link(world: World, version: ssl.TLSVersion, name: str) -> None:
    """RFC 5929: the certificate that we were shown, or this handshake, lets in; another's does not."""
    mechanism = "SCRAM-SHA-256-PLUS"
    with connected(world, version) as client:
        assert mechanism in client.esmtp_features["auth"].split()
        assert isinstance(client.sock, ssl.SSLSocket)
        shown = client.sock.getpeercert(binary_form=True)
        assert shown is not None
        unique = client.sock.get_channel_binding("tls-unique") or b""
        right = unique if name == "tls-unique" else hashlib.sha256(shown).digest()
        for binding, code in ((b"x" * 32, 535), (right, 235)):
            scram_client = ScramClient(mechanism, USER, PASSWORD, f"p={name},,", binding)
            first = base64.b64encode(scram_client.first).decode()
            challenge = base64.b64decode(client.docmd("AUTH", f"{mechanism} {first}")[1])
            answered = client.docmd(base64.b64encode(scram_client.final(challenge)).decode())
            if code == 235:
                assert base64.b64decode(answered[1]) == scram_client.expected
                answered = client.docmd("")
            assert answered[0] == code


def test_an_authenticated_user_is_held_to_their_own_addresses(world: World) -> None:
    """AUT-06: 553 5.7.1 at MAIL and for the From field; C35: 530 5.7.0 before AUTH."""
    with connected(world) as client:
        assert client.docmd("MAIL", f"FROM:<{USER}>")[0] == 530
        # smtplib knows passwords in ASCII only
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        assert client.docmd("AUTH", f"PLAIN {plain}")[0] == 235
        assert client.docmd("MAIL", "FROM:<bert@example.org>")[0] == 553
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail(USER, ["far@example.com"], b"From: bert@example.org\r\nSubject: x\r\n\r\nx\r\n")
        assert caught.value.smtp_code == 553
        client.sendmail(USER, ["far@example.com"], f"From: {USER}\r\nSubject: x\r\n\r\nx\r\n".encode())
