"""AUTH at a smarthost: what is said, to whom, and what never leaves or is told (C52, AUT-08 turned round)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
from pathlib import Path

import pytest
from tests.unit.client.tls_names import Issuer
from tests.unit.delivery.sendkit import FakeWork, SmtpServer, agent, attempt

from upesi.mail.route import HostRoute
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.scheduler.work import Destination, Host

USER, PASSWORD = "anna=b,c", "pencil, päper"
NAME = "smart.example"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file with our password."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    return file


class Replies(dict):
    """Every line that is no command belongs to AUTH."""

    def __init__(self, auth) -> None:
        super().__init__()
        self.auth = auth

    def get(self, key, default=None):
        return (
            default
            if key in ("greeting", "EHLO", "STARTTLS", "MAIL", "RCPT", "DATA", "content", ".", "RSET")
            else self.auth
        )


class Judge(SmtpServer):
    """A server that asks for AUTH: `mechanisms` are offered, `exchange` says what it answers to each line of it, in order."""

    def __init__(self, context, exchange, mechanisms="PLAIN LOGIN", **more) -> None:
        inside = ("PIPELINING", f"AUTH {mechanisms}") if mechanisms else ("PIPELINING",)
        super().__init__({}, ("PIPELINING", "STARTTLS"), inside=inside, tls=context, **more)
        self.replies = Replies(self.auth)
        self.exchange = exchange
        self.lines: list[str] = []

    def auth(self, session):
        line = self.commands[-1]
        answer = self.exchange(line, self.lines)
        self.lines.append(line)
        return answer


def send(
    server: Judge, secret: Path | str, issuer: Issuer, level=TlsLevel.VERIFY, **host
) -> tuple[FakeWork, list[dict[str, object]]]:
    """Send a message to `server`, in real time: SCRAM computes in a thread."""
    events: list[dict[str, object]] = []

    async def scenario():
        async with server:
            policy = TlsPolicy(level, authorities=str(issuer.file) if level is TlsLevel.VERIFY else "")
            fields = {
                "addresses": ("127.0.0.1",),
                "private": True,
                "tls": policy,
                "user": USER,
                "password_file": str(secret),
            }
            target = Destination("s", HostRoute(NAME), (Host(NAME, server.port, **(fields | host)),))
            work = FakeWork(target, attempt(), attempt())
            agent(lambda name, said: events.append({"event": name, **said}), connection_idle=0.05).start(work)
            await asyncio.wait_for(work.end.wait(), 60)
            return work

    return asyncio.run(scenario()), events


def said(text: bytes) -> bytes:
    return b"334 " + base64.b64encode(text) + b"\r\n"


def heard(line: str) -> bytes:
    return base64.b64decode(line.split(" ")[-1])


def scram_server(hash="sha256", iterations=4096, password=PASSWORD, signature=None):
    """Return the exchange of a server that knows `password`."""
    salt, state = os.urandom(16), {}

    def exchange(line, lines):
        if not lines:
            bare = heard(line).removeprefix(b"n,,")
            nonce = bare.partition(b",r=")[2] + b"serverpart"
            state["first"] = bare, b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), iterations)
            return said(state["first"][1])
        if len(lines) == 1:
            final, _, proof = heard(line).partition(b",p=")
            salted = hashlib.pbkdf2_hmac(hash, password.encode(), salt, iterations)
            client_key = hmac.digest(salted, b"Client Key", hash)
            message = b",".join((*state["first"], final))
            wanted = hmac.digest(hashlib.new(hash, client_key).digest(), message, hash)
            shown = bytes(a ^ b for a, b in zip(base64.b64decode(proof), wanted, strict=True))
            if shown != client_key:
                return b"535 5.7.8 no\r\n"
            return said(
                b"v="
                + base64.b64encode(signature or hmac.digest(hmac.digest(salted, b"Server Key", hash), message, hash))
            )
        return b"235 2.7.0 in\r\n"

    return exchange


def plain(line, lines):
    return b"235 2.7.0 in\r\n" if heard(line) == f"\0{USER}\0{PASSWORD}".encode() else b"535 5.7.8 no\r\n"


def login(line, lines):
    if not lines:
        assert line == "AUTH LOGIN"
        return said(b"Username:")
    if len(lines) == 1:
        return said(b"Password:") if heard(line) == USER.encode() else b"535 no\r\n"
    return b"235 in\r\n" if heard(line) == PASSWORD.encode() else b"535 no\r\n"


@pytest.mark.parametrize(
    ("mechanisms", "exchange", "used"),
    [
        ("PLAIN LOGIN", plain, "PLAIN"), ("LOGIN", login, "LOGIN"), ("XOAUTH2 LOGIN PLAIN", plain, "PLAIN"),
        ("PLAIN LOGIN SCRAM-SHA-1 SCRAM-SHA-256", scram_server(), "SCRAM-SHA-256"),
        ("PLAIN SCRAM-SHA-1", scram_server("sha1"), "SCRAM-SHA-1"),
    ],
)  # fmt: skip
def test_the_best_mechanism_that_is_offered_is_used(issuer, secret, mechanisms, exchange, used):
    """RFC 4954, RFC 5802, RFC 4616: then mail goes, once for all messages of the connection."""
    server = Judge(issuer.server(NAME), exchange, mechanisms)
    work, events = send(server, secret, issuer)
    assert work.kinds == ["delivered", "delivered"]
    assert server.lines[0].startswith(f"AUTH {used}")
    assert sum(line.startswith("AUTH") for line in server.commands) == 1
    assert events == []


@pytest.mark.parametrize(
    "answer", [b"535 5.7.8 no\r\n", b"454 4.7.0 later\r\n", b"534 5.7.9 weak\r\n", b"250 ok\r\n", b"503 no\r\n"]
)
def test_who_is_not_let_in_waits(issuer, secret, answer):
    """A mistyped account must not bounce the queue: 4.7.8, an event, and no mail on that connection."""
    server = Judge(issuer.server(NAME), lambda line, lines: answer)
    work, events = send(server, secret, issuer)
    _, outcome = work.ending
    assert (outcome.kind.value, outcome.status) == ("deferred", "4.7.8")
    assert answer[:3].decode() in outcome.text
    assert [event["event"] for event in events] == ["login.failed"]
    assert not any(line.startswith("MAIL") for line in server.commands)


def test_a_server_that_repeats_the_password_tells_it_to_nobody(issuer, secret):
    """Secrets never in logs, events or reports: what a server says when it refuses is not passed on."""
    encoded = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
    server = Judge(
        issuer.server(NAME),
        lambda line, lines: b"535-5.7.8 " + PASSWORD.encode() + b"\r\n535 5.7.8 " + encoded + b"\r\n",
    )
    work, events = send(server, secret, issuer)
    told = repr((work.ending, events))
    assert PASSWORD not in told
    assert encoded.decode() not in told


@pytest.mark.parametrize("level", [TlsLevel.NONE, TlsLevel.MAY, TlsLevel.ENCRYPT, TlsLevel.VERIFY])
def test_no_secret_without_tls(issuer, secret, level):
    """C52: a server that offers AUTH in clear and no STARTTLS hears nothing of us, whatever the policy says."""
    server = Judge(None, plain)
    server.keywords = ("AUTH PLAIN LOGIN",)
    work, _ = send(server, secret, issuer, level)
    assert work.ending[1].status == "4.7.5"
    assert server.commands == ["EHLO client.example.org"]
    assert len(server.sessions) == 1


def test_no_secret_for_a_server_that_cannot_be_verified(issuer, secret, tmp_path):
    """RFC 8314 section 3: not even inside TLS."""
    server = Judge(Issuer(tmp_path, "stranger").server(NAME), plain)
    assert send(server, secret, issuer)[0].ending[1].status == "4.7.5"
    assert server.lines == []


def test_implicit_tls_works_too(issuer, secret):
    """RFC 8314: port 465."""
    server = Judge(issuer.server(NAME), plain, implicit=True)
    assert send(server, secret, issuer, implicit=True)[0].kinds == ["delivered", "delivered"]


@pytest.mark.parametrize(
    "exchange",
    [
        scram_server(signature=b"x" * 32),  # does not know the password itself
        scram_server(iterations=1),  # would have it guessed
        scram_server(iterations=2**31),  # would have us compute for an hour
        lambda line, lines: b"235 2.7.0 in\r\n",  # lets everybody in
        lambda line, lines: said(b"r=other,s=AAAA,i=4096"),  # another nonce
        lambda line, lines: said(b"r=" + heard(line).partition(b",r=")[2] + b",s=AAAA,i=4096"),  # nothing added to ours
        lambda line, lines: said(b"e=unknown"),
        lambda line, lines: b"334 not base64!\r\n",
        lambda line, lines: b"334 \r\n",
    ],
)  # fmt: skip
def test_a_server_that_does_not_do_its_part_gets_no_mail(issuer, secret, exchange):
    """RFC 5802 section 5: in SCRAM the server shows that it knows us, or it is somebody else."""
    server = Judge(issuer.server(NAME), exchange, "SCRAM-SHA-256")
    work, events = send(server, secret, issuer)
    assert (work.ending[1].kind.value, work.ending[1].status) == ("deferred", "4.7.8")
    assert events[-1]["event"] == "login.failed"
    assert not server.delivered


@pytest.mark.parametrize(
    "exchange", [lambda line, lines: said(b"more"), lambda line, lines: b"334 " + b"A" * 4000 + b"\r\n"]
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_server_that_asks_without_end_is_left(issuer, secret, mechanism, exchange):
    """Bounded: no more challenges than the mechanism has."""
    server = Judge(issuer.server(NAME), exchange, mechanism)
    assert send(server, secret, issuer)[0].ending[1].status == "4.7.8"
    assert len(server.lines) <= 4


@pytest.mark.parametrize("mechanisms", ["", "XOAUTH2 GSSAPI", "SCRAM-SHA-256-PLUS"])
def test_nothing_that_we_know_is_offered(issuer, secret, mechanisms):
    """Then nothing is tried, and nobody guesses."""
    server = Judge(issuer.server(NAME), plain, mechanisms)
    assert send(server, secret, issuer)[0].ending[1].status == "4.7.8"
    assert server.lines == []


@pytest.mark.parametrize("kind", ["absent", "open to others", "empty", "octets"])
def test_a_password_that_cannot_be_read_is_told_to_the_log_only(issuer, secret, kind):
    """The event names the file and what is wrong with it; the outcome, which senders see, does not. Nothing of it is shown."""
    {
        "absent": secret.unlink,
        "open to others": lambda: secret.chmod(0o644),
        "empty": lambda: secret.write_bytes(b"\n"),
        "octets": lambda: secret.write_bytes(b"\xff\xfe"),
    }[kind]()
    server = Judge(issuer.server(NAME), plain)
    work, events = send(server, secret, issuer)
    assert work.ending[1].status == "4.7.8"
    assert str(secret) not in work.ending[1].text
    assert str(secret) in events[0]["reason"]
    assert PASSWORD not in repr(events)
    assert server.lines == []
