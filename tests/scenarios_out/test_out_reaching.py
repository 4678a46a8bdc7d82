"""Reaching a destination: hosts and addresses in order, refusals on the way, and where we refuse to go."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.delivery.sendkit import (
    HANG,
    Close,
    FakeWork,
    SmtpServer,
    agent,
    attempt,
    destination,
    securing_as,
    sent,
    with_server,
)  # fmt: skip

from upesi.client.connecting import Connector
from upesi.config.settings import DeliverySettings
from upesi.delivery.agents.smtp import SmtpAgent
from upesi.mail.answers import Answer, Status
from upesi.mail.outcome import OutcomeKind
from upesi.mail.route import MxRoute
from upesi.scheduler.work import Destination, Ending, Host


class Lookup:
    """DNS from a table."""

    def __init__(self, table):
        self.table = table
        self.asked = []

    async def addresses(self, name):
        self.asked.append(name)
        found = self.table.get(name, Status.NXDOMAIN)
        return Answer(found) if isinstance(found, Status) else Answer(Status.OK, texts=tuple(found), ttl=60.0)


async def reach(server, hosts, table=None, *, allow_private=True):
    loop = asyncio.get_running_loop()
    work = FakeWork(Destination("mx:x", MxRoute("x.test"), hosts), attempt())
    lookup = Lookup(table or {})
    sender = SmtpAgent(
        loop,
        Connector(loop, lookup, allow_private=allow_private),
        securing_as("us.test"),
        DeliverySettings(connection_idle=0.5),
        lambda: 0.0,
    )
    sender.start(work)
    await work.end.wait()
    return work, lookup, loop.time()


@pytest.mark.parametrize(
    "said", [b"421 busy\r\n", b"450 later\r\n", b"554 no\r\n", b"521 never\r\n", Close(), Close(b"22"), b"nonsense\r\n"]
)
def test_host_that_does_not_greet_us_leads_to_the_next(said):
    """C23, RFC 5321 section 5.1: a refusing, closing or babbling host is followed by the next one."""

    async def scenario(bad):
        async with SmtpServer() as good:
            work = FakeWork(destination(bad.port, good.port), attempt())
            agent().start(work)
            await work.end.wait()
            return work

    for stage in ("greeting", "EHLO"):
        if stage == "EHLO" and isinstance(said, bytes) and said.startswith(b"5"):
            continue  # HELO is tried then
        assert with_server(SmtpServer({stage: said}), scenario).kinds == ["delivered"]


def test_helo_follows_only_a_permanent_refusal_of_ehlo():
    """C26: 5xx to EHLO: HELO, and no extension is believed; 4xx: no HELO."""
    old = SmtpServer({"EHLO": b"502 what\r\n", "HELO": b"250-old\r\n250 PIPELINING\r\n"})
    assert sent(old, attempt()).kinds == ["delivered"]
    assert old.commands[:2] == ["EHLO client.example.org", "HELO client.example.org"]
    busy = SmtpServer({"EHLO": b"451 later\r\n"})
    assert sent(busy, attempt()).ending[0] is Ending.UNREACHABLE
    assert busy.commands == ["EHLO client.example.org"]


@pytest.mark.parametrize(("said", "kind", "code"), [
    (b"554 5.7.1 listed\r\n", OutcomeKind.DEFERRED, 554), (b"521 5.3.2 never\r\n", OutcomeKind.FAILED, 521),
    (b"421 4.3.2 busy\r\n", OutcomeKind.DEFERRED, 421),
])  # fmt: skip
def test_greeting_refused_by_the_last_host_is_the_outcome(said, kind, code):
    """RFC 7504: 521 is for good; any other refusal of the greeting is for now. No message is charged with it."""
    work = sent(SmtpServer({"greeting": said}), attempt())
    ending, outcome = work.ending
    assert ending is Ending.UNREACHABLE
    assert (outcome.kind, outcome.code) == (kind, code)
    assert not work.outcomes


def test_nobody_listens():
    """A refused connection is UNREACHABLE 4.4.1, and says who refused."""

    async def scenario(server):
        server._server.close()
        await asyncio.sleep(0)
        work = FakeWork(destination(server.port), attempt())
        agent().start(work)
        await work.end.wait()
        return work

    ending, outcome = with_server(SmtpServer(), scenario).ending
    assert ending is Ending.UNREACHABLE
    assert (outcome.kind, outcome.status) == (OutcomeKind.DEFERRED, "4.4.1")
    assert "127.0.0.1" in outcome.text


def test_private_addresses_found_in_dns_are_not_connected_to():
    """DNS-04, OUT-11: a name in MX that leads to loopback is refused at connect; an operator's own route is not."""

    async def scenario(server):
        table = {"mx.x.test": ["127.0.0.1"]}
        refused = await reach(server, (Host("mx.x.test", server.port),), table, allow_private=False)
        literal = await reach(server, (Host("127.0.0.1", server.port),), allow_private=False)
        allowed = await reach(server, (Host("mx.x.test", server.port),), table)
        configured = await reach(server, (Host("mx.x.test", server.port, private=True),), table, allow_private=False)
        return refused, literal, allowed, configured, len(server.sessions)

    refused, literal, allowed, configured, sessions = with_server(SmtpServer(), scenario)
    for work, _, _ in (refused, literal):
        assert work.ending[0] is Ending.UNREACHABLE
        assert (work.ending[1].kind, work.ending[1].status) == (OutcomeKind.FAILED, "5.4.4")
    assert allowed[0].kinds == configured[0].kinds == ["delivered"]
    assert sessions == 2


def test_dns_is_asked_for_a_host_only_when_it_is_its_turn():
    """Addresses are looked up when they are needed, so that they are judged as they are used (OUT-11)."""

    async def scenario(server):
        table = {"mx1.x.test": ["127.0.0.1"], "mx2.x.test": ["127.0.0.1"]}
        return await reach(server, (Host("mx1.x.test", server.port), Host("mx2.x.test", server.port)), table)

    _, lookup, _ = with_server(SmtpServer(), scenario)
    assert lookup.asked == ["mx1.x.test"]


def test_dead_address_family_costs_two_seconds_at_most():
    """OUT-11: an address that never answers delays the next by the head start, not by its timeout."""

    async def scenario(server):
        loop = asyncio.get_running_loop()
        create = loop.create_connection

        async def unanswered(factory, host, port, **kept):
            if ":" in host:
                await asyncio.Event().wait()
            return await create(factory, host, port, **kept)

        loop.create_connection = unanswered
        return await reach(server, (Host("mx.x.test", server.port),), {"mx.x.test": ["2001:db8::1", "127.0.0.1"]})

    work, _, now = with_server(SmtpServer(), scenario)
    assert work.kinds == ["delivered"]
    assert now < 2.6  # two seconds, and half a second of idling at the end


@pytest.mark.parametrize(
    ("status", "kind"), [(Status.NXDOMAIN, OutcomeKind.FAILED), (Status.TIMEOUT, OutcomeKind.DEFERRED)]
)
def test_host_without_address(status, kind):
    """RFC 5321 section 5.1: a host that has no address fails; one that DNS could not tell about is tried later."""

    async def scenario(server):
        return await reach(server, (Host("mx.x.test", server.port),), {"mx.x.test": status})

    work, _, _ = with_server(SmtpServer(), scenario)
    assert work.ending[1].kind is kind


def test_one_temporary_trouble_among_permanent_ones_means_later():
    """A host that may come back is enough to wait for."""

    async def scenario(server):
        hosts = (Host("a.x.test", server.port), Host("b.x.test", server.port), Host("c.x.test", server.port))
        return await reach(server, hosts, {"b.x.test": Status.SERVFAIL})

    assert with_server(SmtpServer(), scenario)[0].ending[1].kind is OutcomeKind.DEFERRED


def test_silent_hosts_are_given_up_after_a_bounded_time():
    """Twenty hosts that accept and say nothing cost ten minutes and the wait at hand, not hours."""

    async def scenario(server):
        return await reach(server, tuple(Host("127.0.0.1", server.port, private=True) for _ in range(20)))

    work, _, now = with_server(SmtpServer({"greeting": HANG}), scenario)
    assert work.ending[0] is Ending.UNREACHABLE
    assert 600 <= now <= 900
