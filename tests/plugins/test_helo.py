"""The bundled plugin helo: ten checks of the name in HELO."""

from __future__ import annotations

import pytest

from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.mail.security import TlsInfo
from upesi.plugins.helo.plugin import Helo
from upesi.testkit import FakeResolver, Trial

IP = "192.0.2.1"
RECORDS = {
    ("mail.example.org", "A"): [IP],
    ("farm.example.org", "A"): ["192.0.2.200"],
    ("mx.google.com", "A"): [IP],
    ("elsewhere.example", "A"): ["192.0.2.200"],
    ("other.test-site.example", "A"): [IP],
    ("slow.example", "A"): Status.TIMEOUT,
    ("slow.example", "AAAA"): Status.TIMEOUT,
    ("dsl-192-0-2-1.pool.example", "A"): [IP],
}
MARKED = ("bare_ip", "literal_mismatch", "valid_hostname", "dynamic", "big_company", "forward_dns", "rdns_match")


def trial(hostname: str | None = "mail.example.org", **settings: object) -> Trial:
    """A session with the plugin; `hostname` is the confirmed name of the client."""
    return Trial.of(Helo, settings, ip=IP, hostname=hostname, dns=FakeResolver(RECORDS))


async def faults(name: str, hostname: str | None = "mail.example.org", **settings: object) -> list[str]:
    """Return the checks that failed for one greeting."""
    session = trial(hostname, **settings)
    await session.helo(name)
    assert await session.mail() is None
    result, evidence = session.session.results["helo"]
    return evidence.split(", ") if result == "fail" else []


CASES = [
    ("mail.example.org", []),
    ("MAIL.Example.Org.", []),
    ("[192.0.2.1]", []),
    ("[192.0.2.9]", ["literal_mismatch"]),
    ("[IPv6:2001:db8::1]", ["literal_mismatch"]),
    ("[nonsense]", ["literal_mismatch"]),
    ("192.0.2.1", ["bare_ip", "valid_hostname", "dynamic"]),
    ("2001:db8::1", ["bare_ip", "valid_hostname"]),
    ("mail", ["valid_hostname"]),
    ("localhost.localdomain", ["valid_hostname"]),
    ("printer.lan", ["valid_hostname"]),
    ("under_score.example", ["valid_hostname"]),
    ("dsl-192-0-2-1.pool.example", ["dynamic", "rdns_match"]),
    ("farm.example.org", []),
    ("elsewhere.example", ["rdns_match", "forward_dns"]),
    ("other.test-site.example", ["rdns_match"]),
    ("mx.google.com", ["big_company", "rdns_match"]),
    ("slow.example", ["rdns_match"]),
]


@pytest.mark.parametrize(("name", "expected"), CASES)
async def test_each_check_finds_what_it_is_for(name: str, expected: list[str]) -> None:
    """RFC 5321 sections 4.1.1.1 and 4.1.3: a name is a host's full name, or its address in brackets, and its own."""
    assert await faults(name) == expected


async def test_a_client_without_a_confirmed_name_is_held_to_its_own_only() -> None:
    """rdns_match compares names; with none there is nothing to compare, and forward_dns decides."""
    assert await faults("mail.example.org", None) == []
    assert await faults("elsewhere.example", None) == ["forward_dns"]
    assert await faults("mx.google.com", None) == ["big_company"]
    assert await faults("mx.google.com", "mail-1.google.com") == []


async def test_names_that_the_operator_listed_are_refused() -> None:
    """The list is the operator's own: what it names is refused unless it says otherwise."""
    for name in ("ylmf-pc", "YLMF-PC", "x.bad.example"):
        session = trial(names=["ylmf-pc", "*.bad.example"])
        await session.helo(name)
        verdict = await session.mail()
        assert isinstance(verdict, Verdict)
        assert str(verdict.reply) == f"550 5.7.1 We take no mail from a client that calls itself {name}"
    assert "patterns" not in await faults("bad.example", names=["*.bad.example"])


@pytest.mark.parametrize("check", MARKED)
async def test_every_check_has_a_knob(check: str) -> None:
    """A check refuses, defers, marks, or is not made at all."""
    name = next(name for name, expected in CASES if check in expected)
    for action, answer in (("reject", "550 5.7.1 "), ("defer", "451 4.7.1 ")):
        session = trial(**{check: action})
        await session.helo(name)
        verdict = await session.mail()
        assert isinstance(verdict, Verdict)
        assert str(verdict.reply).startswith(answer)
    assert check not in await faults(name, **{check: "off"})


async def test_several_names_in_one_session_are_found() -> None:
    """host_mismatch: a server knows its name; what it said before STARTTLS is forgotten (RFC 3207 section 4.2)."""
    session = trial()
    await session.helo("mail.example.org")
    await session.helo("MAIL.example.org")
    await session.mail()
    assert session.session.results["helo"][0] == "pass"
    session.session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
    await session.helo("farm.example.org")
    await session.mail()
    assert session.session.results["helo"] == ("pass", "farm.example.org")
    await session.helo("mail.example.org")
    await session.mail()
    assert session.session.results["helo"] == ("fail", "host_mismatch")


async def test_helo_behind_ehlo_is_found() -> None:
    """proto_mismatch: whoever got an answer to EHLO has no need of HELO (RFC 5321 section 3.2)."""
    session = trial(proto_mismatch="defer")
    await session.helo("mail.example.org")
    await session.helo("mail.example.org")
    assert await session.mail() is None
    again = trial(proto_mismatch="defer")
    await again.helo("mail.example.org")
    await again.helo("mail.example.org")
    again.session.protocol = "SMTP"
    assert await again.mail() is not None
    assert again.session.results["helo"] == ("fail", "proto_mismatch")


async def test_the_name_is_judged_once() -> None:
    """A second MAIL asks DNS nothing, and hears the same."""
    dns = FakeResolver(RECORDS)
    session = Trial.of(Helo, {"forward_dns": "reject"}, ip=IP, dns=dns)
    await session.helo("elsewhere.example")
    assert await session.mail() is not None
    asked = len(dns.asked)
    assert await session.mail() is not None
    assert len(dns.asked) == asked


async def test_those_who_send_for_us_are_not_judged() -> None:
    """Mail programs greet with whatever they like, and log in afterwards."""
    for change in ({"relaying": True}, {"identity": "anna"}, {"role": "submission"}):
        session = trial(valid_hostname="reject")
        await session.helo("mail")
        for name, value in change.items():
            setattr(session.session, name, value)
        assert await session.mail() is None
        assert "helo" not in session.session.results
