"""The stub resolver against a server over loopback: every way a lookup can end, and that it always ends (DNS-01 to DNS-03)."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing

import pytest

from upesi.dns.resolver import Resolver
from upesi.mail.answers import MxRecord, Status
from upesi.testkit.dns import FakeDns, Rcode, numbered_domains
from upesi.testkit.loop import run_virtual

ZONE = {
    ("x.test", "MX"): ["20 MX2.x.test.", "10 mx1.x.test."],
    ("mx1.x.test", "A"): ["192.0.2.1"],
    ("mx1.x.test", "AAAA"): ["2001:db8::1"],
    ("four.test", "A"): ["192.0.2.4"],
    ("null.test", "MX"): ["0 ."],
    ("txt.test", "TXT"): ['"v=spf1 " "-all"'],
    ("alias.test", "MX"): ["CNAME x.test."],
    ("loop.test", "A"): ["CNAME loop.test."],
    ("broken.test", "MX"): Rcode.SERVFAIL,
    ("silent.test", "MX"): None,
    ("half.test", "A"): ["192.0.2.5"],
    ("half.test", "AAAA"): Rcode.SERVFAIL,
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mx1.x.test."],
    ("many.test", "MX"): [f"10 mx{n}.x.test." for n in range(1000)],
    ("long.test", "TXT"): [" ".join(['"' + "x" * 250 + '"'] * 200)],
}


def looked_up(*questions, zone=ZONE, servers=None, **options):
    """Ask `questions` in turn, each a (method, argument), and return answers, the server and virtual seconds."""

    async def main():
        loop = asyncio.get_running_loop()
        async with FakeDns(zone, **options) as server:
            with closing(Resolver(loop, servers(server) if servers else (server.address,), os.urandom)) as resolver:
                answers = [await getattr(resolver, method)(argument) for method, argument in questions]
                return answers, server, loop.time()

    return run_virtual(main())


def answer(method, argument, **options):
    return looked_up((method, argument), **options)[0][0]


def test_answers_are_values():
    """Every kind of record, and every kind of absence."""
    assert set(answer("mx", "x.test").mx) == {MxRecord(10, "mx1.x.test"), MxRecord(20, "mx2.x.test")}
    assert answer("addresses", "mx1.x.test").texts == ("2001:db8::1", "192.0.2.1")
    assert answer("addresses", "four.test").texts == ("192.0.2.4",)
    assert answer("mx", "null.test").mx == (MxRecord(0, ""),)
    assert answer("txt", "txt.test").texts == ("v=spf1 -all",)
    assert answer("ptr", "192.0.2.1").texts == ("mx1.x.test",)
    assert answer("mx", "absent.test").status is Status.NXDOMAIN
    assert answer("mx", "four.test").status is Status.NODATA
    assert answer("addresses", "x.test").status is Status.NODATA


def test_cname_is_followed_and_a_loop_is_trouble():
    """DNS-02: records at the end of a chain are the answer; an endless chain is none."""
    assert len(answer("mx", "alias.test").mx) == 2
    assert answer("addresses", "loop.test").status.trouble


def test_trouble_with_one_family_does_not_hide_the_other():
    """A and AAAA are asked together; either suffices."""
    assert answer("addresses", "half.test").texts == ("192.0.2.5",)


@pytest.mark.parametrize(
    "name", ["", "a..b", "x" * 64 + ".test", ".".join(["x" * 60] * 5), "\ud800.test", "a b.test\x00"]
)
def test_what_dns_cannot_hold_does_not_exist(name):
    """No name makes a lookup raise."""
    assert answer("mx", name).status in (Status.NXDOMAIN, Status.NODATA)


def test_large_answers_come_by_tcp_and_are_cut():
    """DNS-02: a truncated answer is asked for again over TCP; at most 100 records and 16 kB of a text are kept."""
    assert set(answer("mx", "x.test", truncate=True).mx) == {MxRecord(10, "mx1.x.test"), MxRecord(20, "mx2.x.test")}
    assert len(answer("mx", "many.test", truncate=True).mx) == 100
    assert len(answer("txt", "long.test", truncate=True).texts[0]) == 16_384


def test_silence_ends_with_the_deadline():
    """DNS-01: five seconds for one lookup, all tries and servers together."""
    (found,), server, now = looked_up(("mx", "silent.test"))
    assert found.status is Status.TIMEOUT
    assert 5 <= now < 5.1
    assert len(server.asked) == 2


def test_next_server_is_asked_when_one_fails_or_is_dead():
    """DNS-01: SERVFAIL and a closed port lead on at once, silence after its share of the time."""

    async def main():
        loop = asyncio.get_running_loop()
        async with (
            FakeDns({("x.test", "MX"): Rcode.REFUSED}) as lame,
            FakeDns({("x.test", "MX"): None}) as silent,
            FakeDns(ZONE) as good,
        ):
            async with FakeDns(ZONE) as dead:
                pass
            servers = (dead.address, lame.address, silent.address, good.address)
            with closing(Resolver(loop, servers, os.urandom)) as resolver:
                return (await resolver.mx("x.test")).status, loop.time()

    status, now = run_virtual(main())
    assert status is Status.OK
    assert now <= 2 * 5 / 8 + 0.1


def test_every_server_failing_is_servfail():
    """A definite failure is told from silence."""
    assert answer("mx", "broken.test").status is Status.SERVFAIL


def test_answers_are_kept_for_their_ttl_and_trouble_for_seconds():
    """RFC 2181 section 8, RFC 2308: one question within the TTL, another after it; absence is kept as well."""

    async def main():
        async with FakeDns(ZONE, ttl=60) as server:
            with closing(Resolver(asyncio.get_running_loop(), (server.address,), os.urandom)) as resolver:
                for seconds in (0, 59, 2):
                    await asyncio.sleep(seconds)
                    await resolver.mx("X.test.")
                asked = len(server.asked)
                await resolver.mx("broken.test")
                await resolver.mx("broken.test")
                again = len(server.asked) - asked
                await asyncio.sleep(6)
                await resolver.mx("broken.test")
                return asked, again, len(server.asked) - asked

    assert run_virtual(main()) == (2, 3, 6)


def test_equal_questions_under_way_are_asked_once_and_survive_a_cancelled_asker():
    """A burst for one domain costs one question; the first asker giving up does not hurt the others."""

    async def main():
        async with FakeDns(ZONE) as server:
            with closing(Resolver(asyncio.get_running_loop(), (server.address,), os.urandom)) as resolver:
                tasks = [asyncio.ensure_future(resolver.mx("x.test")) for _ in range(50)]
                await asyncio.sleep(0)
                tasks[0].cancel()
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                return answers, server.asked

    answers, asked = run_virtual(main())
    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(found.status is Status.OK for found in answers[1:])
    assert asked == [("x.test", "MX")]


def test_numbered_domains_have_mx_hosts_of_their_own():
    """The zone of benchmarks: each domain is a site."""
    zone = numbered_domains(3, "127.0.0.1")
    assert answer("mx", "d2.test", zone=zone).mx == (MxRecord(10, "mx.d2.test"),)
    assert answer("addresses", "mx.d2.test", zone=zone).texts == ("127.0.0.1",)
    assert answer("mx", "d3.test", zone=zone).status is Status.NXDOMAIN
