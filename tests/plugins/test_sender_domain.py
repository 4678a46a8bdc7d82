"""The bundled plugin sender_domain: a sender that can be answered."""

from __future__ import annotations

import pytest

from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.plugins.sender_domain.plugin import SenderDomain
from upesi.testkit import FakeResolver, Trial

GOOD, BAD = "9.9.9.9", "10.0.0.1"
RECORDS = {
    ("mx.example", "MX"): ["10 in.mx.example"],
    ("in.mx.example", "A"): [GOOD],
    ("six.example", "MX"): ["10 in.six.example"],
    ("in.six.example", "AAAA"): ["2620:fe::fe"],
    ("host.example", "A"): [GOOD],
    ("nothing.example", "TXT"): ["v=spf1 -all"],
    ("null.example", "MX"): ["0 ."],
    ("half.example", "MX"): ["0 .", "10 in.mx.example"],
    ("private.example", "MX"): ["10 in.private.example"],
    ("in.private.example", "A"): [BAD],
    ("loop.example", "A"): ["127.0.0.1"],
    ("literal.example", "MX"): ["10 9.9.9.9"],
    ("missing-host.example", "MX"): ["10 gone.example"],
    ("second.example", "MX"): ["10 in.private.example", "20 in.mx.example"],
    ("slow.example", "MX"): Status.TIMEOUT,
    ("slow-host.example", "MX"): ["10 in.private.example", "20 slow-in.example"],
    ("slow-in.example", "A"): Status.SERVFAIL,
    ("slow-in.example", "AAAA"): Status.SERVFAIL,
    ("many.example", "MX"): [f"{n} in.private.example" for n in range(7)],
}

CASES = [
    ("mx.example", "pass", ""),
    ("six.example", "pass", ""),
    ("host.example", "pass", ""),
    ("half.example", "pass", ""),
    ("second.example", "pass", ""),
    ("gone.example", "missing", "550 5.1.8 "),
    ("nothing.example", "missing", "550 5.1.8 "),
    ("null.example", "null_mx", "550 5.7.27 "),
    ("private.example", "bogus", "550 5.1.8 "),
    ("loop.example", "bogus", "550 5.1.8 "),
    ("literal.example", "bogus", "550 5.1.8 "),
    ("missing-host.example", "bogus", "550 5.1.8 "),
    ("slow.example", "temperror", "451 4.4.3 "),
    ("slow-host.example", "temperror", "451 4.4.3 "),
    ("many.example", "temperror", "451 4.4.3 "),
]


def trial(**settings: object) -> Trial:
    """A session with the plugin."""
    return Trial.of(SenderDomain, settings, dns=FakeResolver(RECORDS))


@pytest.mark.parametrize(("domain", "found", "answer"), CASES)
async def test_what_can_be_answered_is_taken(domain: str, found: str, answer: str) -> None:
    """C104, RFC 5321 section 5.1, RFC 7505 section 4.2: the domain has an MX host, or an address, in the world; trouble defers."""
    session = trial()
    verdict = await session.mail(f"a@{domain}")
    result, evidence = session.tx.results["sender_domain"]
    if not answer:
        assert (verdict, result) == (None, "pass")
        return
    assert isinstance(verdict, Verdict)
    assert str(verdict.reply).startswith(answer)
    assert (result, evidence.partition(":")[0]) == ("error" if found == "temperror" else "fail", found)
    assert await trial(**{found: "mark"}).mail(f"a@{domain}") is None


async def test_the_null_path_literals_and_exempt_domains_are_not_looked_up() -> None:
    """A bounce has no domain (RFC 5321 section 4.5.5); an application of ours may have none that takes mail."""
    dns = FakeResolver(RECORDS)
    session = Trial.of(SenderDomain, {"exempt": ["Null.example"]}, dns=dns)
    for sender in ("<>", "a@[192.0.2.1]", "a@null.example"):
        assert await session.mail(sender) is None
    assert dns.asked == []


async def test_those_who_send_for_us_are_not_looked_up() -> None:
    """Their senders are held to other rules."""
    for change in ({"relaying": True}, {"identity": "anna"}, {"role": "lmtp"}):
        session = trial()
        for name, value in change.items():
            setattr(session.session, name, value)
        assert await session.mail("a@gone.example") is None
