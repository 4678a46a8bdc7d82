"""Servers that lie, fail, are old or are dead: what the resolver believes, whom it asks next, and that it always ends."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import closing

import dns.edns
import dns.flags
import pytest

from upesi.dns.resolver import Resolver
from upesi.mail.answers import Security, Status
from upesi.testkit.dns import FakeDns, Rcode, Told, wrong_id, wrong_question, zone_of_text
from upesi.testkit.loop import run_virtual

GOOD = ("192.0.2.1",)


async def pause(seconds=0.01):
    """Let datagrams that are under way arrive."""
    await asyncio.sleep(seconds)


def resolver_of(*servers, **options):
    loop = asyncio.get_running_loop()
    return closing(Resolver(loop, tuple(server.address for server in servers), os.urandom, **options))


def asked_once(zone, name="x.test", kind="A", *, server=None, **options):
    """Ask one question of one server; return the answer, the server, and the virtual seconds it took."""

    async def main():
        loop = asyncio.get_running_loop()
        async with FakeDns(zone, **(server or {})) as fake:
            with resolver_of(fake, **options) as resolver:
                answer = await resolver.query(name, kind)
                return answer, fake, loop.time(), resolver

    return run_virtual(main())


@pytest.mark.parametrize("lie", [
    {"noise": wrong_id}, {"noise": wrong_question}, {"forged": lambda query, reply: [reply[:-1] + b"\x66"]},
    {"noise": lambda query, reply: [reply[:2] + b"\x01" + reply[3:]]},
])  # fmt: skip
def test_forgeries_are_ignored_and_the_true_answer_is_taken(lie):
    """DNS-03: another id, another question, no response, no message, or the right octets from another socket."""
    answer, *_ = asked_once({("x.test", "A"): Told(["192.0.2.1"], delay=0.1, **lie)})
    assert answer.texts == GOOD


def test_records_of_other_names_are_never_looked_at():
    """DNS-03: an answer section may hold anything; what the question does not lead to is not seen."""

    def poisoned(name, kind):
        return ["CNAME y.test."] if name == "x.test" else GOOD if name in ("y.test", "evil.test") else Rcode.NXDOMAIN

    answer, *_ = asked_once(poisoned)
    assert (answer.texts, answer.name) == (GOOD, "y.test")


def test_a_guesser_of_ids_costs_the_socket_and_not_the_answer():
    """RFC 5452 section 9.2: after some strange ids the next question leaves by another port."""

    def flood(query, reply):
        return [bytes((reply[0] ^ n, reply[1] ^ 0x55)) + reply[2:] for n in range(40)]

    async def main():
        async with FakeDns(lambda name, kind: Told(GOOD, noise=flood)) as fake:
            with resolver_of(fake) as resolver:
                for number in range(60):
                    assert (await resolver.query(f"n{number}.test", "A")).texts == GOOD
                return resolver.upstreams[0].ports.opened

    assert run_virtual(main()) == 60


def test_sockets_are_few_and_are_replaced():
    """RFC 5452 section 9.2: a thousand questions leave by several ports, none for long, and none has a socket of its own."""

    async def main():
        async with FakeDns(lambda name, kind: GOOD) as fake:
            with resolver_of(fake, cache_size=1) as resolver:
                for number in range(0, 1200, 40):
                    await asyncio.gather(*(resolver.query(f"n{number + k}.test", "A") for k in range(40)))
                ports = resolver.upstreams[0].ports
                early = ports.opened
                await asyncio.sleep(11)
                await asyncio.gather(*(resolver.query(f"m{k}.test", "A") for k in range(40)))
                ids = {query.id for query in fake.queries}
                return early, ports.opened, len(fake.clients), len(ids)

    early, late, clients, ids = run_virtual(main())
    assert 8 <= early <= 24
    assert late > early
    # the kernel may give a port again
    assert 8 <= clients <= late
    assert ids > 1000


def test_without_descriptors_the_sockets_that_are_there_are_used(monkeypatch):
    """RES-01: EMFILE is no reason to answer trouble while a socket is open; without any it is trouble and no exception."""
    real = socket.socket

    async def main():
        async with FakeDns(lambda name, kind: GOOD) as fake:
            with resolver_of(fake) as resolver:
                await asyncio.gather(*(resolver.query(f"n{n}.test", "A") for n in range(200)))
                await asyncio.sleep(11)
                monkeypatch.setattr("socket.socket", exhausted)
                answers = [await resolver.query(f"m{n}.test", "A") for n in range(20)]
                with resolver_of(fake) as other:
                    return answers, await other.query("x.test", "A")

    def exhausted(*arguments, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    answers, none = run_virtual(main())
    monkeypatch.setattr("socket.socket", real)
    assert {answer.texts for answer in answers} == {GOOD}
    assert none.status is Status.SERVFAIL


def test_truncated_answers_are_taken_over_tcp_and_a_dead_tcp_is_trouble_in_time():
    """DNS-01: truncated, then TCP dead: the lookup ends within its five seconds."""
    zone = {("x.test", "A"): Told(GOOD, truncate=True)}
    assert asked_once(zone)[0].texts == GOOD
    for way in ("closes", "hangs"):
        answer, _, seconds, _ = asked_once(zone, server={"tcp": way})
        assert answer.status.trouble
        assert seconds <= 5.1


def test_large_answers_come_by_tcp_without_being_asked_for_in_vain():
    """DNS-02: what does not fit 1232 octets is truncated by the server, and comes by TCP."""
    answer, fake, _, resolver = asked_once({("x.test", "TXT"): ["x" * 60_000]}, kind="TXT")
    assert len(answer.texts[0]) == 16_384
    assert resolver.upstreams[0].by_tcp == 1
    assert fake.queries[0].payload == 1232


@pytest.mark.parametrize(("links", "ok"), [(0, True), (10, True), (11, False), (20, False)])
def test_chains_of_aliases_are_bounded(links, ok):
    """DNS-02: ten aliases are followed, twenty are trouble."""
    zone = {(f"l{n}.test", "CNAME"): [f"l{n + 1}.test."] for n in range(links)} | {(f"l{links}.test", "A"): GOOD}
    answer, *_ = asked_once(zone, name="l0.test")
    assert answer.texts == (GOOD if ok else ())
    assert answer.status.trouble is not ok


def test_silent_server_is_asked_behind_the_others_and_comes_back():
    """DNS-01: a dead server costs some questions a moment, not each; when it answers again it is the first again."""
    events = []

    async def main():
        loop = asyncio.get_running_loop()
        alive = [False]
        async with (
            FakeDns(lambda name, kind: GOOD if alive[0] else None) as first,
            FakeDns(lambda name, kind: GOOD) as second,
        ):
            with resolver_of(
                first, second, emit=lambda event, fields: events.append((event, fields["server"]))
            ) as resolver:
                took = []
                for number in range(20):
                    begun = loop.time()
                    assert (await resolver.query(f"n{number}.test", "A")).texts == GOOD
                    took.append(loop.time() - begun)
                alive[0] = True
                await asyncio.sleep(120)
                asked = len(second.asked)
                for number in range(5):
                    await resolver.query(f"m{number}.test", "A")
                return took, len(second.asked) - asked, f"127.0.0.1:{first.address[1]}"

    took, by_second, label = run_virtual(main())
    assert max(took) < 1
    assert sum(seconds > 0.5 for seconds in took) <= 5
    assert took[-1] < 0.1
    assert by_second == 0
    assert events == [("dns.server_silent", label), ("dns.server_answers", label)]


def test_a_slow_server_is_listened_to_while_the_next_is_asked():
    """DNS-01: an answer that comes after its server's share of the time still counts."""

    async def main():
        loop = asyncio.get_running_loop()
        async with (
            FakeDns({("x.test", "A"): Told(GOOD, delay=1.2)}) as slow,
            FakeDns({("x.test", "A"): None}) as silent,
        ):
            with resolver_of(slow, silent) as resolver:
                return (await resolver.query("x.test", "A")).texts, loop.time()

    texts, seconds = run_virtual(main())
    assert texts == GOOD
    assert 1.2 <= seconds < 1.5


def test_slow_names_do_not_keep_others_waiting():
    """DNS-07: a thousand names whose server says nothing, and another name is answered at once."""

    async def main():
        loop = asyncio.get_running_loop()
        async with FakeDns(lambda name, kind: None if name.startswith("slow") else GOOD) as fake:
            with resolver_of(fake) as resolver:
                slow = [loop.create_task(resolver.query(f"slow{n}.test", "A")) for n in range(1000)]
                await pause()
                begun = loop.time()
                assert (await resolver.query("quick.test", "A")).texts == GOOD
                took = loop.time() - begun
                answers = await asyncio.gather(*slow)
                return took, {answer.status for answer in answers}, loop.time()

    took, statuses, seconds = run_virtual(main())
    assert took < 0.1
    assert statuses == {Status.TIMEOUT}
    assert seconds < 5.2


def test_more_questions_than_the_bound_are_trouble_at_once(monkeypatch):
    """DNS-07: what waits is bounded; one more is told so and does not queue."""
    monkeypatch.setattr("upesi.dns.resolver.MAX_IN_FLIGHT", 3)

    async def main():
        async with FakeDns(lambda name, kind: None) as fake:
            with resolver_of(fake) as resolver:
                waiting = [asyncio.ensure_future(resolver.query(f"n{n}.test", "A")) for n in range(3)]
                await pause()
                begun = asyncio.get_running_loop().time()
                answer = await resolver.query("one.more.test", "A")
                took = asyncio.get_running_loop().time() - begun
                await asyncio.gather(*waiting)
                return answer.status, took, resolver.refused

    assert run_virtual(main()) == (Status.TIMEOUT, 0, 1)


def test_old_servers_are_asked_without_edns():
    """RFC 6891 section 7: FORMERR to EDNS leads to a question without, and the server is known by it."""

    async def main():
        async with FakeDns(lambda name, kind: GOOD, plain=True) as fake:
            with resolver_of(fake) as resolver:
                texts = [(await resolver.query(f"n{n}.test", "A")).texts for n in range(2)]
                return texts, [query.edns for query in fake.queries]

    assert run_virtual(main()) == ([GOOD, GOOD], [0, -1, -1])


def test_mixed_case_is_asked_and_expected():
    """draft-vixie-dnsext-dns0x20: the name's capitals are random, and a reply without them is not believed over UDP."""
    name = "a-rather-long-name.example.test"
    answer, fake, _, resolver = asked_once({(name, "A"): GOOD}, name=name, mix_case=True)
    written = fake.queries[0].question[0].name.to_text(omit_final_dot=True)
    assert written.lower() == name != written
    assert answer.texts == GOOD
    assert resolver.upstreams[0].by_tcp == 0


def test_a_server_that_folds_case_is_found_out_over_tcp_and_asked_plainly():
    """A reply in other capitals is asked for again over TCP, once; then the server is known for it."""

    async def main():
        async with FakeDns(lambda name, kind: GOOD, folds_case=True) as fake:
            with resolver_of(fake, mix_case=True) as resolver:
                for number in range(3):
                    assert (await resolver.query(f"abcdefghijklmnopqrstuvwxyz{number}.test", "A")).texts == GOOD
                return resolver.upstreams[0].by_tcp, [str(query.question[0].name) for query in fake.queries[2:]]

    by_tcp, names = run_virtual(main())
    assert by_tcp == 1
    assert all(name == name.lower() for name in names)


@pytest.mark.parametrize(("told", "security"), [
    (Told(GOOD, secure=True), Security.SECURE), (Told(GOOD), Security.INSECURE), (Told((), secure=True), Security.SECURE),
])  # fmt: skip
def test_a_server_on_this_machine_is_believed_about_dnssec(told, security):
    """RFC 6840 section 5.7, RFC 4035 section 3.2.3: AD is asked for and taken, for records and for absence; it holds in memory too."""
    answer, fake, _, resolver = asked_once({("x.test", "A"): told})
    assert answer.security is security
    assert resolver.known("x.test", "A").security is security
    assert fake.queries[0].flags & dns.flags.AD


def test_a_distant_server_is_believed_only_if_the_operator_says_so():
    """DNS-03: the AD bit of a server that is not on this machine counts for nothing unless `dns.trusted` says otherwise."""

    async def main():
        loop = asyncio.get_running_loop()
        distant = ("192.0.2.53", 53)
        return [
            Resolver(loop, (("::1", 53), ("127.0.0.53", 53), distant), os.urandom, trusted=trusted)
            for trusted in (False, True)
        ]

    strict, open_ = run_virtual(main())
    assert [upstream.trusted for upstream in strict.upstreams] == [True, True, False]
    assert all(upstream.trusted for upstream in open_.upstreams)


def test_what_answers_only_without_validation_is_bogus():
    """RFC 4035 section 5.5: SERVFAIL that becomes an answer with CD is bogus: no other server is asked, nothing stale is given."""

    async def main():
        good = [True]

        def zone(name, kind):
            return Told(GOOD, secure=True) if good[0] else Told(Rcode.SERVFAIL, unchecked=GOOD)

        async with FakeDns(zone, ttl=60) as validating, FakeDns(lambda name, kind: GOOD) as gullible:
            with resolver_of(validating, gullible, serve_stale=3600) as resolver:
                before = await resolver.query("x.test", "A")
                good[0] = False
                await asyncio.sleep(61)
                return before, await resolver.query("x.test", "A"), gullible.asked

    before, after, by_gullible = run_virtual(main())
    assert before.secure
    assert (after.status, after.security, after.texts) == (Status.SERVFAIL, Security.BOGUS, ())
    assert by_gullible == []


def test_servfail_without_a_reason_is_not_bogus():
    """RFC 4033 section 5: a server that fails with CD as well has another trouble."""
    answer, fake, *_ = asked_once({("x.test", "A"): Rcode.SERVFAIL})
    assert (answer.status, answer.security) == (Status.SERVFAIL, Security.INDETERMINATE)
    assert sum(bool(query.flags & dns.flags.CD) for query in fake.queries) == 1


def test_a_slow_answer_is_not_lost_while_another_server_is_doubted():
    """DNS-01: what arrives while one server is asked whether its SERVFAIL is for validation's sake still counts."""

    async def main():
        loop = asyncio.get_running_loop()
        async with (
            FakeDns({("x.test", "A"): Told(GOOD, delay=1.5)}) as slow,
            FakeDns({("x.test", "A"): Told(Rcode.SERVFAIL, delay=0.5)}) as failing,
        ):
            with resolver_of(slow, failing) as resolver:
                answer = await resolver.query("x.test", "A")
                return answer.texts, loop.time(), [bool(query.flags & dns.flags.CD) for query in failing.queries]

    texts, seconds, unchecked = run_virtual(main())
    assert (texts, unchecked) == (GOOD, [False, True])
    assert seconds < 2


def stale(kind, records, **options):
    """Ask, let the TTL pass with a server that says nothing any more, ask again twice; return the answers and their seconds."""

    async def main():
        loop = asyncio.get_running_loop()
        alive = [True]
        async with FakeDns(lambda name, kind: records if alive[0] else None, ttl=60) as fake:
            with resolver_of(fake, **options) as resolver:
                answers = [(await resolver.query("x.test", kind), loop.time())]
                alive[0] = False
                await asyncio.sleep(61)
                for _ in range(2):
                    begun = loop.time()
                    answers.append((await resolver.query("x.test", kind), loop.time() - begun))
                await asyncio.sleep(10)
                again = await resolver.query("x.test", kind)
                asked = len(fake.asked)
                await asyncio.sleep(3600)
                return answers, again, asked, await resolver.query("x.test", kind)

    return run_virtual(main())


def test_stale_answers_stand_while_nobody_answers():
    """RFC 8767 sections 4 and 5: given after 1.8 s, with 30 s to live, marked; the server is not asked again at once; not for ever."""
    answers, again, asked, late = stale("MX", ["10 mx.x.test."], serve_stale=3000)
    (first, _), (second, waited), (third, short) = answers
    assert (first.stale, second.stale, third.stale, again.stale) == (False, True, True, True)
    assert second.mx == first.mx
    assert second.ttl == 30
    assert 1.7 <= waited <= 1.9
    assert short <= 3.3
    assert asked <= 5
    assert late.status is Status.TIMEOUT


@pytest.mark.parametrize(("kind", "records", "options"), [
    ("TLSA", ["3 1 1 " + "00" * 32], {"serve_stale": 3000}), ("MX", ["10 mx.x.test."], {}), ("MX", (), {"serve_stale": 3000}),
])  # fmt: skip
def test_some_answers_are_never_stale(kind, records, options):
    """RFC 7672 section 2.1.1: an old TLSA record is trouble; so is everything where it is not wanted, and absence."""
    answers, *_ = stale(kind, records, **options)
    assert answers[1][0].status is Status.TIMEOUT


def test_absence_is_remembered_as_long_as_its_zone_says():
    """RFC 2308 section 5: the lesser of the SOA's TTL and its minimum, capped (DNS-08); without SOA hardly at all."""
    seen = {}
    for seconds in (60, 100_000, None):
        answer, *_ = asked_once({}, server={"negative_ttl": seconds})
        assert answer.status is Status.NXDOMAIN
        seen[seconds] = answer.ttl
    assert seen == {60: 60, 100_000: 900, None: 5}


def test_a_name_that_does_not_exist_has_no_records_of_any_type():
    """RFC 8020 section 2: one NXDOMAIN answers for all types; an alias that leads nowhere exists."""

    async def main():
        async with FakeDns({("alias.test", "CNAME"): ["gone.test."]}) as fake:
            with resolver_of(fake) as resolver:
                statuses = {(await resolver.query("gone.test", kind)).status for kind in ("A", "AAAA", "MX", "TXT")}
                once = len(fake.asked)
                dangling = await resolver.query("alias.test", "A")
                return statuses, once, dangling.status, (await resolver.query("alias.test", "CNAME")).texts

    assert run_virtual(main()) == ({Status.NXDOMAIN}, 1, Status.NXDOMAIN, ("gone.test",))


def test_known_answers_make_no_task_and_no_wait():
    """A cached answer is there in the first step of the coroutine."""

    async def main():
        async with FakeDns({("x.test", "A"): GOOD, ("x.test", "AAAA"): ["2001:db8::1"]}) as fake:
            with resolver_of(fake) as resolver:
                await resolver.addresses("x.test")
                tasks = len(asyncio.all_tasks())
                for asking in (resolver.query("X.test.", "A"), resolver.addresses("x.test")):
                    with pytest.raises(StopIteration) as end:
                        asking.send(None)
                    assert end.value.value.status is Status.OK
                return len(asyncio.all_tasks()) - tasks, len(fake.asked), (resolver.misses, resolver.hits)

    assert run_virtual(main()) == (0, 2, (2, 3))


def test_both_families_are_asked_at_once_and_an_answer_without_ttl_is_used():
    """Two answers of TTL 0 cost two questions and the time of the slower."""

    async def main():
        loop = asyncio.get_running_loop()
        zone = {("x.test", "A"): Told(GOOD, delay=0.1), ("x.test", "AAAA"): Told(["2001:db8::1"], delay=0.3)}
        async with FakeDns(zone, ttl=0) as fake:
            with resolver_of(fake) as resolver:
                return (await resolver.addresses("x.test")).texts, len(fake.asked), round(loop.time(), 1)

    assert run_virtual(main()) == (("2001:db8::1", "192.0.2.1"), 2, 0.3)


def test_types_that_cannot_be_read_are_a_mistake_of_the_caller():
    """A typing mistake is not a domain without records."""
    with pytest.raises(ValueError, match="TTX"):
        asked_once({}, kind="TTX")


def test_closing_lets_go_of_sockets_and_cancels_who_waits():
    """A worker that ends waits for no name server."""

    async def main():
        async with FakeDns(lambda name, kind: None) as fake:
            with resolver_of(fake) as resolver:
                waiting = asyncio.ensure_future(resolver.query("x.test", "A"))
                await pause()
            await pause()
            return waiting.cancelled()

    assert run_virtual(main())


def test_zones_can_be_written_as_text():
    """RFC 1035 section 5: what a zone file says is what is served."""
    zone = zone_of_text("example.test.", """
        @      300 IN SOA ns hostmaster 1 3600 600 86400 60
        @      300 IN MX 10 mx
        @      300 IN TXT "v=spf1 " "mx -all"
        mx     300 IN A 192.0.2.1
        www    300 IN CNAME @
        _25._tcp.mx IN 300 TLSA 3 1 1 0000000000000000000000000000000000000000000000000000000000000000
        _imap._tcp  IN 300 SRV 0 1 143 mx
    """)  # fmt: skip

    async def main():
        async with FakeDns(zone) as fake:
            with resolver_of(fake) as resolver:
                return [
                    await resolver.query(*question)
                    for question in (
                        ("www.example.test", "MX"), ("example.test", "TXT"), ("_25._tcp.mx.example.test", "TLSA"),
                        ("_imap._tcp.example.test", "SRV"), ("example.test", "SOA"),
                    )
                ]  # fmt: skip

    mx, txt, tlsa, srv, soa = run_virtual(main())
    assert (mx.mx[0].exchange, mx.name) == ("mx.example.test", "example.test")
    assert txt.texts == ("v=spf1 mx -all",)
    assert (tlsa.tlsa[0].usage, tlsa.tlsa[0].data) == (3, bytes(32))
    assert (srv.srv[0].port, srv.srv[0].target) == (143, "mx.example.test")
    assert soa.texts == ("ns.example.test hostmaster.example.test 1 3600 600 86400 60",)
