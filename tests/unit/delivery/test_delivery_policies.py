"""Which TLS policy a destination has, and that mail under different policies never shares a site."""

from __future__ import annotations

import asyncio

import pytest

from upesi.config.settings import DestinationSettings
from upesi.delivery.policies import MAX_MARK, TlsPolicies
from upesi.delivery.routing import MxRouter
from upesi.mail.answers import Answer, MxRecord, Status
from upesi.mail.route import (
    DiscardRoute,
    HostRoute,
    LmtpRoute,
    MaildirRoute,
    MxRoute,
    Route,
    decode_route,
    encode_route,
    requiring_tls,
)  # fmt: skip
from upesi.mail.tls import OPPORTUNISTIC, TlsLevel, TlsPolicy
from upesi.scheduler.work import Destination

NONE, MAY, ENCRYPT, VERIFY = TlsLevel
ANY = "*"


class Lookup:
    """Every domain has the same two hosts."""

    async def mx(self, domain: str) -> Answer:
        return Answer(
            Status.OK, mx=(MxRecord(10, "mx1.provider.example"), MxRecord(20, "mx2.provider.example")), ttl=300
        )

    async def addresses(self, name: str) -> Answer:
        return Answer(Status.NODATA)


def table(*entries: tuple[object, ...], **more: object) -> TlsPolicies:
    """Return a table of (domains, level) entries."""
    return TlsPolicies([DestinationSettings(domains=domains, tls=level, **more) for domains, level in entries])  # type: ignore[arg-type]


def router(policies: TlsPolicies) -> MxRouter:
    return MxRouter(Lookup(), lambda hosts: None, lambda: 0.0, policies=policies)


def resolved(policies: TlsPolicies, route: Route) -> Destination:
    return asyncio.run(router(policies).resolve(route))


def test_the_first_entry_that_names_the_domain_decides_and_the_star_is_for_the_others() -> None:
    """RFC 7435: opportunistic without any entry; domains, those below one, address literals and hosts of fixed routes."""
    assert TlsPolicies().policy(MxRoute("a.example")) == OPPORTUNISTIC
    policies = table(
        (("a.example",), VERIFY), ((".a.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"), NONE), ((ANY,), ENCRYPT),
        (("late.example",), NONE),
    )  # fmt: skip
    levels = {
        MxRoute("a.example"): VERIFY, MxRoute("b.a.example"): NONE, MxRoute("b.example"): ENCRYPT,
        MxRoute("late.example"): ENCRYPT, MxRoute("[192.0.2.1]"): NONE, HostRoute("192.0.2.1"): NONE,
        HostRoute("2001:db8:0::1"): NONE, HostRoute("A.Example"): VERIFY, LmtpRoute("a.example", 24): VERIFY,
    }  # fmt: skip
    assert {route: policies.policy(route).level for route in levels} == levels


def test_a_route_s_own_policy_is_stronger_than_the_table() -> None:
    """A plugin that says how it is to be sent means it, in both directions."""
    policies = table((("a.example",), VERIFY))
    assert policies.policy(MxRoute("a.example", TlsPolicy(MAY))).level is MAY
    assert policies.policy(HostRoute("b.example", tls=TlsPolicy(ENCRYPT))).level is ENCRYPT


def test_an_account_is_for_a_verified_server_unless_somebody_says_otherwise() -> None:
    """RFC 8314 section 3: a password is not given to whoever answers."""
    account = HostRoute("smart.example", 587, user="us", password_file="/f")
    assert TlsPolicies().policy(account).level is VERIFY
    assert table(((ANY,), NONE)).policy(account).level is VERIFY
    assert table((("smart.example",), ENCRYPT)).policy(account).level is ENCRYPT


def test_hosts_that_dns_names_can_only_make_it_stricter() -> None:
    """Whoever forges an MX record must not choose a weaker policy by it; what the pattern vouches for is the host's own name."""
    policies = TlsPolicies(
        [
            DestinationSettings(hosts=(".provider.example",), tls=VERIFY),
            DestinationSettings(domains=("a.example",), tls=VERIFY, tls_names=("x.example",)),
        ]
    )
    plain, named = (resolved(policies, MxRoute(domain)).hosts for domain in ("b.example", "a.example"))
    assert [(host.tls.level, host.tls.names) for host in plain] == [
        (VERIFY, ("mx1.provider.example",)), (VERIFY, ("mx2.provider.example",)),
    ]  # fmt: skip
    assert [host.tls.names for host in named] == [("x.example",)] * 2
    weaker = TlsPolicies([DestinationSettings(hosts=(".provider.example",), tls=ENCRYPT)])
    assert weaker.at_host(TlsPolicy(VERIFY), "mx1.provider.example").level is VERIFY


def test_mail_to_the_same_hosts_shares_a_site_only_under_the_same_policy() -> None:
    """Kept connections are never used under another policy: another policy is another site (and no policy of its own is none)."""
    policies = table(
        (("v.example",), VERIFY), (("w.example",), VERIFY), (("e.example",), ENCRYPT), (("f.example",), ENCRYPT),
        (("m.example",), MAY),
    )  # fmt: skip
    sites = {name: resolved(policies, MxRoute(f"{name}.example")).site for name in "abvwefm"}
    assert sites["a"] == sites["b"] == sites["m"] == "mx:mx1.provider.example,mx2.provider.example"
    assert sites["e"] == sites["f"] == sites["a"] + ";tls=encrypt"
    # each certificate must be for its own domain
    assert len({sites[name] for name in "avwe"}) == 4
    shared = table((("v.example", "w.example"), VERIFY), tls_names=("mx",))
    assert resolved(shared, MxRoute("v.example")).site == resolved(shared, MxRoute("w.example")).site != sites["a"]


@pytest.mark.parametrize(
    "more", [{"tls_names": ("x.example",)}, {"tls_authorities": "/ca.pem"}, {"tls_certificate": "/own.pem"}]
)
def test_each_detail_of_a_policy_makes_another_site(more: dict[str, object]) -> None:
    """Other names, authorities or another certificate of ours: another connection."""
    one = table((("v.example",), VERIFY), tls_names=("mx",))
    other = table((("v.example",), VERIFY), **{"tls_names": ("mx",), **more})
    assert resolved(one, MxRoute("v.example")).site != resolved(other, MxRoute("v.example")).site


def test_mail_with_requiretls_never_shares_a_site() -> None:
    """RFC 8689: its connections are verified, also where nothing else wants that; for each domain by itself."""
    routes: tuple[Route, ...] = (
        MxRoute("a.example"), requiring_tls(MxRoute("a.example")), requiring_tls(MxRoute("b.example")),
        HostRoute("h"), requiring_tls(HostRoute("h")), LmtpRoute("h", 24), requiring_tls(LmtpRoute("h", 24)),
    )  # fmt: skip
    assert len({resolved(TlsPolicies(), route).site for route in routes}) == len(routes)
    assert resolved(TlsPolicies(), routes[1]).requiretls
    for route in (MaildirRoute("/m"), DiscardRoute(), LmtpRoute("/socket")):
        assert requiring_tls(route) == route


def test_accounts_and_implicit_tls_are_sites_of_their_own() -> None:
    """What was sent under one name is not sent under another; no secret is in the key, and nothing that could break a line."""
    routes = [
        HostRoute("h", 465), HostRoute("h", 465, implicit=True), HostRoute("h", 465, user="anna", password_file="/1"),
        HostRoute("h", 465, user="anna", password_file="/2"), HostRoute("h", 465, user="a b;,\u2028", password_file="/1"),
    ]  # fmt: skip
    sites = [resolved(TlsPolicies(), route).site for route in routes]
    assert len(set(sites)) == len(sites)
    assert all(site.isprintable() and " " not in site for site in sites)
    host = resolved(TlsPolicies(), routes[2]).hosts[0]
    assert (host.user, host.password_file, host.implicit) == ("anna", "/1", False)


def test_a_site_that_is_known_is_the_one_that_routing_finds() -> None:
    """Sessions place mail without asking DNS: under the same key."""
    policies = table((("v.example",), VERIFY))
    for route in (MxRoute("a.example"), MxRoute("v.example"), MxRoute("a.example", TlsPolicy(NONE), True)):
        made = router(policies)
        assert made.site(route) is None
        assert asyncio.run(made.resolve(route)).site == made.site(route)


def test_mail_that_waited_under_another_policy_moves() -> None:
    """After a reload: a queue that the old configuration named does not carry mail past the new one."""
    strict, lax = router(table((("v.example",), VERIFY))), router(TlsPolicies())
    plain, verified = "mx:a,b", "mx:a,b;tls=verify;for=v.example"
    assert strict.current(plain, MxRoute("v.example")) == verified
    assert strict.current(plain, MxRoute("a.example")) == plain
    assert lax.current(verified, MxRoute("v.example")) == plain
    assert strict.current("host:v.example:25", HostRoute("v.example")) == "host:v.example:25;tls=verify"
    # what plugins have resolved, and what waits for DNS, stays
    for queue in ("hosts:a:25,b:25", "host:a:25", "domain:v.example"):
        assert strict.current(queue, MxRoute("v.example")) == queue


def test_mail_that_waits_for_dns_does_not_mix() -> None:
    """One question is asked for all that waits under one key, so a key has one policy."""
    routes = [MxRoute("a.example"), MxRoute("a.example", requiretls=True), MxRoute("a.example", TlsPolicy(VERIFY))]
    assert len({route.key for route in routes}) == 3
    assert routes[0].key == "a.example"


def test_routes_keep_their_policy_in_the_spool() -> None:
    """What a plugin said holds after a restart; routes of before are read as they were meant."""
    for route in (
        MxRoute("a.example", TlsPolicy(VERIFY, ("mx",), "/ca", "/own"), True),
        HostRoute("h", 465, TlsPolicy(ENCRYPT), True, True, "anna", "/secret"),
        LmtpRoute("h", 24, TlsPolicy(NONE)),
    ):
        assert decode_route(encode_route(route)) == route
    assert decode_route(bytes.fromhex("920183a474797065a4686f7374a4686f7374a168a4706f727419")) == HostRoute("h", 25)


@pytest.mark.parametrize("values", [("verify",), (VERIFY, ["mx"]), (VERIFY, (b"mx",)), (2,)])
def test_what_only_looks_like_a_policy_is_none(values: tuple[object, ...]) -> None:
    """A plugin's "verify" that is no TlsLevel must not be compared with one later, and found to be less."""
    with pytest.raises(TypeError):
        TlsPolicy(*values)  # type: ignore[arg-type]


def test_keys_of_sites_stay_short() -> None:
    """The key is in every row of the queue: long names and accounts become a digest, and stay apart."""
    long = ["x" * 60 + f".{n}." + "y" * 60 + ".example" for n in range(2)]
    policies = table(((ANY,), VERIFY))
    marks = {policies.mark(MxRoute(domain)) for domain in long}
    assert len(marks) == 2
    assert all(len(mark) <= MAX_MARK for mark in marks)
