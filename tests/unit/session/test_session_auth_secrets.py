"""AUT-05: a canary goes through every mechanism, right, wrong, malformed, cancelled and in trouble; nothing that is told holds it."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from tests.unit.sasl.saslkit import ScramClient
from tests.unit.sasl.test_scram import keys
from tests.unit.session.authkit import AuthDialogue, MemoryCredentials, authenticator, b64, plain

from upesi.mail.security import PeerCertificate, TlsInfo
from upesi.observe.events import Events
from upesi.observe.metrics import Metrics
from upesi.runtime.observer import Observer
from upesi.sasl.credentials import Ability, Identity, Origin, Refused, Unavailable
from upesi.sasl.mechanisms import MECHANISMS

CANARY = "canary-77ab-horse"
TOKEN = "canary-77ab-token.x.y"
_CERTIFICATE = PeerCertificate("CN=anna", "CN=ca", ("anna@example.org",), "00")


class Tokens:
    """Takes one token; raises or refuses for others."""

    async def verify(self, token: str, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        if token.endswith("boom"):
            raise RuntimeError(f"cannot verify {token}")
        return Identity("anna") if token == TOKEN else Refused()


class Sink:
    """Keeps what is written to the log."""

    dropped = 0

    def __init__(self) -> None:
        self.file = io.BytesIO()

    def write(self, lines: bytes, count: int) -> None:
        self.file.write(lines)

    def close(self) -> None:
        pass


def needles() -> list[str]:
    """The secrets, and their base64 wherever it begins."""
    encoded = [base64.b64encode(b"x" * shift + b"canary-77ab").decode() for shift in range(3)]
    return ["canary-77ab", encoded[0][:-4], encoded[1][4:-4], encoded[2][4:-4]]


def scram_lines(password: str) -> list[Any]:
    client = ScramClient("SCRAM-SHA-256", password=password)

    def final(challenge: str) -> str:
        return b64(client.final(base64.b64decode(challenge)))

    return ["AUTH SCRAM-SHA-256 " + b64(client.first), final, ""]


def bearer(token: str) -> str:
    return b64(f"n,a=anna,\x01auth=Bearer {token}\x01\x01")


EXCHANGES: dict[str, list[Any]] = {
    "plain": ["AUTH PLAIN " + plain("anna", CANARY)],
    "plain, wrong": ["AUTH PLAIN " + plain("anna", CANARY + "x")],
    "plain, as another": ["AUTH PLAIN " + plain("anna", CANARY, "bert")],
    "plain, malformed": ["AUTH PLAIN " + b64(f"anna\0{CANARY}")],
    "plain, no text": ["AUTH PLAIN " + b64(b"\0anna\0" + CANARY.encode() + b"\xff")],
    "plain, control": ["AUTH PLAIN " + plain("anna", CANARY + "\x07")],
    "plain, no base64": [f"AUTH PLAIN {CANARY}!"],
    "plain, cut": ["AUTH PLAIN", plain("anna", CANARY)[:-1]],
    "plain, in clear": ["AUTH PLAIN", CANARY],
    "plain, too long": ["AUTH PLAIN", plain("anna", CANARY * 900)],
    "plain, unknown user": ["AUTH PLAIN " + plain("nobody", CANARY)],
    "login": ["AUTH LOGIN", b64("anna"), b64(CANARY)],
    "login, wrong": ["AUTH LOGIN", b64("anna"), b64(CANARY + "x")],
    "login, cancelled": ["AUTH LOGIN", b64("anna"), "*"],
    "login, in clear": ["AUTH LOGIN", b64("anna"), CANARY],
    "scram": scram_lines(CANARY),
    "scram, wrong": scram_lines(CANARY + "x")[:2],
    "cram": ["AUTH CRAM-MD5", b64(f"anna {CANARY}")],
    "bearer": ["AUTH OAUTHBEARER " + bearer(TOKEN)],
    "bearer, wrong": ["AUTH OAUTHBEARER " + bearer(TOKEN + "x"), "AQ=="],
    "bearer, trouble": ["AUTH OAUTHBEARER " + bearer(TOKEN + "boom")],
    "bearer, malformed": ["AUTH OAUTHBEARER " + b64(f"n,,\x01auth=Basic {TOKEN}\x01\x01")],
    "xoauth2": ["AUTH XOAUTH2 " + b64(f"user=anna\x01auth=Bearer {TOKEN}\x01\x01")],
    "external": ["AUTH EXTERNAL ="],
    "unknown mechanism": ["AUTH " + CANARY.upper() + " " + b64(CANARY)],
    "misplaced": [plain("anna", CANARY), b64(CANARY), f"AUTH={CANARY}"],
}


def raising(session: Any, credentials: Any) -> Any:
    raise RuntimeError(f"{credentials!r}")


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("world", ["well", "source raises", "hook raises", "locked out"])
async def test_no_secret_is_told(name: str, world: str) -> None:
    """AUT-05: replies, events as they are written, metrics and the repr of everything that a traceback could show."""
    source = MemoryCredentials(anna=CANARY)
    source.keys["anna", Ability.SCRAM_SHA_256] = keys("SCRAM-SHA-256", CANARY)
    if world == "source raises":
        source.trouble = RuntimeError(f"cannot check {CANARY}")
    given = authenticator(
        source, tokens=Tokens(), mechanisms=tuple(MECHANISMS), max_failures=1 if world == "locked out" else 9
    )
    client = AuthDialogue(auth=given, auth_=raising if world == "hook raises" else None)
    client.engine.session.tls = TlsInfo("TLSv1.3", "X", peer=_CERTIFICATE)
    client.hello()
    said: list[str] = []
    for line in EXCHANGES[name]:
        if client.transport.closed or client.engine.over:
            break
        if callable(line) and not said[-1].startswith("334"):
            break
        said += await client.ask(line(said[-1][4:]) if callable(line) else line)
    shown = [repr(client.engine.auth), repr(client.engine.session), *said]
    client.hang_up()
    sink, metrics = Sink(), Metrics()
    events = Events(sink, now=lambda: 0.0)
    observer = Observer(events, metrics)
    for event, fields in client.events:
        observer(event, fields)
    events.close()
    written = sink.file.getvalue().decode() + metrics.export().decode("latin-1") + json.dumps(shown)
    lowered = written.lower()
    assert not [needle for needle in needles() if needle.lower() in lowered]


def test_the_needles_are_found_where_they_are() -> None:
    """The search would find what it is for: each line that bears the secret itself, in clear or in base64."""
    bearing = [name for name in EXCHANGES if not name.startswith(("scram", "external", "login, cancelled"))]
    for name in bearing:
        said = json.dumps([line for line in EXCHANGES[name] if isinstance(line, str)]).lower()
        assert any(needle.lower() in said for needle in needles()), name
