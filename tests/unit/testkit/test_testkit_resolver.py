"""DNS in memory: what plugin authors write as a table is what they are told."""

from __future__ import annotations

import pytest

from upesi.mail.answers import Answer, MxRecord, Security, SrvRecord, Status, TlsaRecord
from upesi.plugin import Plugin, PluginSettings, defer, hook, reject
from upesi.testkit import FakeResolver, Trial

TABLE = {
    ("Example.org.", "TXT"): ["v=spf1 mx -all", '"two " "strings" " with \\" one"'],
    ("example.org", "MX"): ["10 MX.example.org.", "20 mx2.example.org"],
    ("example.org", "A"): ["192.0.2.1"],
    ("example.org", "AAAA"): ["2001:db8::1"],
    ("www.example.org", "CNAME"): ["alias.example.org"],
    ("alias.example.org", "CNAME"): ["example.org"],
    ("loop.example.org", "CNAME"): ["loop.example.org"],
    ("192.0.2.1", "PTR"): ["liar.example.net", "Example.org."],
    ("2001:db8::1", "PTR"): ["example.org"],
    ("192.0.2.9", "PTR"): ["liar.example.net"],
    ("broken.example", "TXT"): Status.SERVFAIL,
    ("own.example", "A"): Answer(Status.OK, texts=("192.0.2.7",), ttl=1.0, security=Security.BOGUS),
    ("_sip._tcp.example.org", "SRV"): ["1 2 5060 Sip.example.org."],
    ("_25._tcp.mx.example.org", "TLSA"): ["3 1 1 00ff 80"],
}


async def test_records_are_read_as_in_a_zone_file():
    """Every type has its place in the answer; names are compared without case and final dot."""
    dns = FakeResolver(TABLE)
    assert (await dns.txt("EXAMPLE.ORG")).texts == ("v=spf1 mx -all", 'two strings with " one')
    assert (await dns.mx("example.org.")).mx == (MxRecord(10, "mx.example.org"), MxRecord(20, "mx2.example.org"))
    assert (await dns.addresses("example.org")).texts == ("2001:db8::1", "192.0.2.1")
    assert (await dns.query("_sip._tcp.example.org", "SRV")).srv == (SrvRecord(1, 2, 5060, "sip.example.org"),)
    assert (await dns.query("_25._tcp.mx.example.org", "TLSA")).tlsa == (TlsaRecord(3, 1, 1, b"\x00\xff\x80"),)
    assert (await dns.query("own.example", "A")).security is Security.BOGUS
    assert dns.asked[:2] == [("example.org", "TXT"), ("example.org", "MX")]


async def test_absence_and_trouble_are_answers():
    """RFC 2308: no such name is not the same as no such records; trouble is neither."""
    dns = FakeResolver(TABLE)
    assert (await dns.mx("absent.example")).status is Status.NXDOMAIN
    assert (await dns.mx("192.0.2.1")).status is Status.NXDOMAIN
    assert (await dns.query("www.example.org", "CNAME")).texts == ("alias.example.org",)
    assert (await dns.query("example.org", "SRV")).status is Status.NODATA
    assert (await dns.txt("broken.example")).status is Status.SERVFAIL
    assert (await dns.txt("loop.example.org")).status is Status.SERVFAIL


async def test_aliases_lead_on():
    """RFC 1034 section 3.6.2: the answer says where the aliases led to."""
    answer = await FakeResolver(TABLE, secure=True).mx("www.example.org")
    assert (len(answer.mx), answer.name, answer.secure) == (2, "example.org", True)
    assert (await FakeResolver(TABLE).query("www.example.org", "SRV")).status is Status.NODATA


@pytest.mark.parametrize(("address", "status", "names"), [
    ("192.0.2.1", Status.OK, ("example.org",)), ("2001:db8::1", Status.OK, ("example.org",)),
    ("192.0.2.9", Status.NODATA, ()), ("192.0.2.77", Status.NXDOMAIN, ()),
])  # fmt: skip
async def test_only_names_that_lead_back_are_confirmed(address, status, names):
    """DNS-06: what a PTR record says is a claim."""
    confirmed = await FakeResolver(TABLE).confirmed(address)
    assert (confirmed.status, confirmed.names) == (status, names)


async def test_names_that_no_host_can_have_are_not_looked_up():
    """DNS-06: a PTR record may hold any octets, and two hundred of them."""
    dns = FakeResolver({("192.0.2.1", "PTR"): ["evil.\\013\\010x", *(f"h{n}.example" for n in range(200))]})
    confirmed = await dns.confirmed("192.0.2.1")
    assert (confirmed.names, len(confirmed.claims)) == ((), 201)
    assert dns.asked[1:] == [(f"h{n}.example", "A") for n in range(10)]


async def test_trouble_with_the_forward_lookup_is_not_a_lie():
    """RFC 8601 section 3: temperror is not fail."""
    dns = FakeResolver({("192.0.2.1", "PTR"): ["a.example"], ("a.example", "A"): Status.TIMEOUT})
    assert (await dns.confirmed("192.0.2.1")).status is Status.TIMEOUT


class Resolvable(Plugin):
    """Want MX records."""

    def __init__(self, settings: PluginSettings, dns) -> None:
        self.dns = dns

    @hook.mail
    async def resolvable(self, tx, sender):
        answer = await self.dns.mx(sender.domain)
        if answer.status.trouble:
            return defer("4.4.3", "DNS does not answer")
        return None if answer.mx else reject("5.1.8", "No such domain")


async def test_a_trial_has_dns():
    """A plugin's test needs a table and nothing else; the client's name comes from the same table."""
    dns = FakeResolver(TABLE)
    trial = Trial.of(Resolvable, dns=dns, ip="192.0.2.1")
    assert await trial.mail("a@example.org") is None
    assert str((await trial.mail("a@absent.example")).reply).startswith("550 5.1.8")
    dns.set("absent.example", "MX", Status.TIMEOUT)
    assert str((await trial.mail("a@absent.example")).reply).startswith("451 4.4.3")
    assert await trial.session.client.hostname() == "example.org"
