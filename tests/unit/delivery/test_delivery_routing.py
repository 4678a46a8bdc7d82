"""From routes to destinations, without a network."""

from __future__ import annotations

import asyncio

import pytest

from upesi.delivery.routing import MAX_HOPS, MAX_HOSTS, MxRouter, own_names
from upesi.mail.answers import Answer, MxRecord, Status
from upesi.mail.outcome import OutcomeKind
from upesi.mail.route import DiscardRoute, HostRoute, LmtpRoute, MaildirRoute, MxRoute
from upesi.scheduler.work import Unroutable


class Lookup:
    """DNS from tables."""

    def __init__(self, mx=None, addresses=None):
        self.tables = {"mx": mx or {}, "addresses": addresses or {}}
        self.asked = 0

    async def mx(self, domain):
        self.asked += 1
        found = self.tables["mx"].get(domain, Status.NXDOMAIN)
        return (
            Answer(found)
            if isinstance(found, Status)
            else Answer(Status.OK, mx=tuple(MxRecord(*r) for r in found), ttl=300.0)
        )

    async def addresses(self, name):
        found = self.tables["addresses"].get(name, Status.NODATA)
        return Answer(found) if isinstance(found, Status) else Answer(Status.OK, texts=found, ttl=300.0)


def router(lookup, *, shuffle=lambda hosts: None, now=lambda: 0.0, own=(), **options):
    return MxRouter(lookup, shuffle, now, own=own_names(*own), **options)


def resolved(lookup, domain="x.test", **options):
    return asyncio.run(router(lookup, **options).resolve(MxRoute(domain)))


def refused(lookup, domain="x.test", **options):
    with pytest.raises(Unroutable) as caught:
        resolved(lookup, domain, **options)
    return caught.value.outcome


def names(destination):
    return [host.name for host in destination.hosts]


def test_hosts_are_sorted_by_preference_and_equals_shuffled():
    """C21: RFC 5321 section 5.1: lowest preference first; hosts of one preference in random order."""
    lookup = Lookup({"x.test": [(20, "c"), (10, "b"), (10, "a"), (20, "d")]})
    assert names(resolved(lookup)) == ["a", "b", "c", "d"]
    assert names(resolved(lookup, shuffle=lambda hosts: hosts.reverse())) == ["b", "a", "d", "c"]
    assert [host.preference for host in resolved(lookup).hosts] == [10, 10, 20, 20]


def test_implicit_mx_only_without_any_mx_record():
    """C21: a domain with an address and no MX record is its own MX; NXDOMAIN is not."""
    lookup = Lookup({"x.test": Status.NODATA, "bare.test": Status.NODATA}, {"x.test": ("192.0.2.1",)})
    assert names(resolved(lookup)) == ["x.test"]
    assert (refused(lookup, "bare.test").kind, refused(lookup, "bare.test").status) == (OutcomeKind.FAILED, "5.1.2")
    assert refused(lookup, "gone.test").status == "5.1.2"


def test_null_mx_fails_at_once():
    """C83: RFC 7505: 556 5.1.10; beside other records a null MX means nothing."""
    outcome = refused(Lookup({"x.test": [(0, "")]}))
    assert (outcome.kind, outcome.code, outcome.status) == (OutcomeKind.FAILED, 556, "5.1.10")
    assert names(resolved(Lookup({"x.test": [(0, ""), (10, "a")]}))) == ["a"]


@pytest.mark.parametrize("status", [Status.SERVFAIL, Status.TIMEOUT])
def test_dns_trouble_defers(status):
    """Trouble is never taken for absence: 4.4.3, also when it is the implicit MX's address."""
    for lookup in (Lookup({"x.test": status}), Lookup({"x.test": Status.NODATA}, {"x.test": status})):
        outcome = refused(lookup)
        assert (outcome.kind, outcome.status) == (OutcomeKind.DEFERRED, "4.4.3")


def test_finding_ourselves_drops_us_and_whoever_is_no_better():
    """C22: RFC 5321 section 5.1: of hosts at our preference and above none is tried; none left is a loop."""
    lookup = Lookup({"x.test": [(10, "a"), (20, "us.test"), (20, "b"), (30, "c")]})
    assert names(resolved(lookup, own=("US.test.",))) == ["a"]
    outcome = refused(Lookup({"x.test": [(10, "us.test"), (20, "b")]}), own=("us.test",))
    assert (outcome.kind, outcome.status) == (OutcomeKind.FAILED, "5.4.6")
    implicit = Lookup({"us.test": Status.NODATA}, {"us.test": ("192.0.2.1",)})
    assert refused(implicit, "us.test", own=("us.test",)).status == "5.4.6"


def test_a_thousand_hosts_are_cut_to_the_best():
    """DNS-04: at most 20, each once, the best ones."""
    lookup = Lookup({"x.test": [(n, f"mx{n:04}") for n in range(1000)] + [(999, "mx0000")]})
    assert names(resolved(lookup)) == [f"mx{n:04}" for n in range(MAX_HOSTS)]
    twice = Lookup({"x.test": [(10, "a"), (20, "a"), (20, "b")]})
    assert names(resolved(twice)) == ["a", "b"]


def test_domains_with_the_same_hosts_are_one_site():
    """OUT-14: the site is the set of hosts, whatever their order and preference; a long one is a digest."""
    lookup = Lookup({"x.test": [(10, "a"), (20, "b")], "y.test": [(5, "b"), (5, "a")], "z.test": [(10, "a")],
                     "long.test": [(1, "m" * 60 + f"{n}.test") for n in range(9)]})  # fmt: skip
    assert resolved(lookup, "x.test").site == resolved(lookup, "y.test").site == "mx:a,b"
    assert resolved(lookup, "z.test").site == "mx:a"
    assert len(resolved(lookup, "long.test").site) < 60


def test_site_of_a_domain_is_known_after_it_was_resolved_and_for_its_ttl():
    """`site` never asks; what it knows is bounded in time."""
    now = [0.0]
    lookup = Lookup({"x.test": [(10, "a")]})
    one = router(lookup, now=lambda: now[0])
    assert one.site(MxRoute("x.test")) is None
    asyncio.run(one.resolve(MxRoute("x.test")))
    assert one.site(MxRoute("x.test")) == "mx:a"
    now[0] = 301.0
    assert one.site(MxRoute("x.test")) is None
    assert lookup.asked == 1


@pytest.mark.parametrize(("route", "site", "private"), [
    (HostRoute("relay.test", 587), "host:relay.test:587", [True]),
    (LmtpRoute("127.0.0.1", 24), "lmtp:127.0.0.1:24", [True]),
    (LmtpRoute("/run/lmtp", 0), "lmtp:/run/lmtp", [True]),
    (MaildirRoute("/var/mail/u/joe"), "maildir:/var/mail/u", []),
    (DiscardRoute(), "discard", []),
    (MxRoute("[192.0.2.1]"), "literal:192.0.2.1:25", [False]),
    (MxRoute("[IPv6:2001:db8::1]"), "literal:2001:db8::1:25", [False]),
])  # fmt: skip
def test_fixed_routes_need_no_dns(route, site, private):
    """Configured hosts may be private; an address literal, which a stranger can write, may not (DNS-04)."""
    one = router(Lookup())
    destination = asyncio.run(one.resolve(route))
    assert one.site(route) == destination.site == site
    assert [host.private for host in destination.hosts] == private


def test_an_address_literal_never_shares_a_queue_with_a_configured_host():
    """DNS-04: a stranger's x@[127.0.0.1] must be given neither the operator's route to loopback nor its mail our refusal."""
    one = router(Lookup(), port=2525)
    literal, configured = MxRoute("[127.0.0.1]"), HostRoute("127.0.0.1", 2525)
    assert one.site(literal) == "literal:127.0.0.1:2525"
    assert one.site(configured) == "host:127.0.0.1:2525"


@pytest.mark.parametrize("name", [
    "mx1.victim\\,mx2.victim", "mx1.victim,mx2.victim", "#0123456789", "a b", "a\\032b", "a\x00b", "a\n", ".a", "a..b", "a.",
    "[127.0.0.1]", "a:25", "a" * 64, "m\u00fc",
])  # fmt: skip
def test_exchanges_that_are_no_host_names_are_ignored(name):
    """OUT-14: a zone's owner must not be able to write the key of somebody else's queue, or of a digest, into its MX."""
    assert resolved(Lookup({"x.test": [(1, name), (10, "mx_1.good-host.test")]})).site == "mx:mx_1.good-host.test"
    outcome = refused(Lookup({"x.test": [(1, name), (0, "")]}))
    assert (outcome.kind, outcome.status) == (OutcomeKind.FAILED, "5.4.4")


def test_what_is_remembered_of_routes_to_one_host_is_bounded_and_right():
    """A plugin may give every message a host of its own: memory stays bounded, and each gets its own destination."""
    hops = router(Lookup())
    for number in range(3 * MAX_HOPS):
        route = HostRoute(f"h{number}.test", 25)
        assert hops.site(route) == hops.site(route) == f"host:h{number}.test:25"
        assert hops.site(LmtpRoute(f"h{number}.test", 24)) == f"lmtp:h{number}.test:24"
    assert len(hops._hops) <= MAX_HOPS
