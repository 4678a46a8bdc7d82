"""TLS on the way out: policies, servers that offer, break or forge it, and what is never sent in clear (TLS-04, TLS-05, OUT-04)."""

from __future__ import annotations

import asyncio
import ssl

import pytest
from tests.unit.client.tls_names import Issuer
from tests.unit.delivery.sendkit import FakeWork, SmtpServer, agent, attempt

from upesi.mail.route import MxRoute
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.scheduler.work import Destination, Host
from upesi.testkit.loop import run_virtual

NAME = "mx.dest.example"
DOMAIN = "dest.example"
OFFERED = ("PIPELINING", "STARTTLS")


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """The authority that verifying policies trust."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def good(issuer: Issuer) -> ssl.SSLContext:
    """The server that everybody wants."""
    return issuer.server(NAME, DOMAIN)


class Out:
    """Sends over a new connection each time, with one agent that remembers."""

    def __init__(self, server: SmtpServer, *, requiretls: bool = False, **policy: object) -> None:
        self.server = server
        self.requiretls = requiretls
        self.events: list[tuple[str, dict[str, object]]] = []
        self.policy = TlsPolicy(**policy)  # type: ignore[arg-type]
        self.sender = agent(lambda name, fields: self.events.append((name, dict(fields))))

    async def send(self, *attempts, **host) -> FakeWork:
        fields = {"addresses": ("127.0.0.1",), "private": True, "domain": DOMAIN, "tls": self.policy} | host
        hosts = (Host(NAME, self.server.port, **fields),)
        work = FakeWork(Destination("mx:x", MxRoute(DOMAIN, requiretls=self.requiretls), hosts), *(attempts or (attempt(),)))
        self.sender.start(work)
        await asyncio.wait_for(work.end.wait(), 5000)
        return work


def once(server: SmtpServer, *attempts, **policy) -> tuple[FakeWork, Out]:
    """Send over one connection."""

    async def scenario():
        async with server:
            out = Out(server, **policy)
            return await out.send(*attempts), out

    return run_virtual(scenario())


def verify(issuer: Issuer, **more) -> dict[str, object]:
    return {"level": TlsLevel.VERIFY, "authorities": str(issuer.file)} | more


def test_starttls_is_used_where_it_is_offered(good):
    """RFC 7435: with policy "may" the mail goes inside TLS, whoever the server is; the outcome says how."""
    server = SmtpServer(keywords=OFFERED, tls=good)
    work, out = once(server, attempt(), attempt())
    assert work.kinds == ["delivered", "delivered"]
    assert server.commands[:2] == ["EHLO client.example.org", "STARTTLS"]
    assert server.sessions[0].tls.version() == "TLSv1.3"
    assert work.first.tls.startswith("TLSv1.3 TLS_")
    assert work.first.tls.endswith(" unverified")
    assert not out.events
