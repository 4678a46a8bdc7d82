"""The bundled plugin spf, as a session meets it."""

from __future__ import annotations

import asyncio

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Answer, Status
from upesi.mail.headers import Headers
from upesi.mailauth.results import MethodResult
from upesi.plugins.spf.plugin import Spf
from upesi.testkit import FakeResolver, Trial, message

RECORDS = {
    ("example.com", "TXT"): ["v=spf1 ip4:192.0.2.1 -all exp=why.example.com"],
    ("why.example.com", "TXT"): ["%{i} is not ours, %{s}"],
    ("client.example", "TXT"): ["v=spf1 a -all"],
    ("client.example", "A"): ["192.0.2.1"],
    ("soft.example", "TXT"): ["v=spf1 ~all"],
    ("neutral.example", "TXT"): ["v=spf1 ?all"],
    ("broken.example", "TXT"): ["v=spf1 moo"],
    ("slow.example", "TXT"): Status.TIMEOUT,
    ("null.example", "MX"): ["0 ."],
}


def trial(ip: str = "192.0.2.1", **settings: object) -> Trial:
    """A session with the plugin."""
    return Trial.of(Spf, settings, ip=ip, dns=FakeResolver(RECORDS))


def said(verdict: object) -> str:
    """The reply, nothing for no opinion."""
    if verdict is None:
        return ""
    assert isinstance(verdict, Verdict)
    return str(verdict.reply)


async def test_both_identities_are_checked_and_their_results_left() -> None:
    """C62, RFC 7208 section 2.4: HELO and MAIL FROM are checked; each leaves its result for DMARC and Authentication-Results."""
    session = trial()
    await session.helo("client.example")
    assert await session.mail("a@example.com") is None
    assert session.session.results["spf"] == ("pass", "client.example: a")
    assert session.tx.results["spf"] == ("pass", "example.com: ip4:192.0.2.1")
    assert session.session.authentication == [
        MethodResult("spf", "pass", properties=(("smtp.helo", "client.example"),))
    ]
    assert session.tx.authentication == [MethodResult("spf", "pass", properties=(("smtp.mailfrom", "a@example.com"),))]


async def test_a_bounce_is_checked_as_postmaster_of_the_helo_name() -> None:
    """C62, RFC 7208 section 2.4: with a null reverse-path the MAIL FROM identity is postmaster at the HELO name."""
    session = trial()
    await session.helo("client.example")
    await session.mail("<>")
    assert session.tx.results["spf"] == ("pass", "client.example: a")
    assert session.tx.authentication[0].said_of("smtp.mailfrom") == "postmaster@client.example"


OUTCOMES = [
    ("fail", "a@example.com", "5.7.23"),
    ("softfail", "a@soft.example", "5.7.23"),
    ("neutral", "a@neutral.example", "5.7.1"),
    ("none", "a@nothing.example", "5.7.1"),
    ("permerror", "a@broken.example", "5.7.24"),
]


@pytest.mark.parametrize(("outcome", "sender", "status"), OUTCOMES)
async def test_every_outcome_has_a_knob(outcome: str, sender: str, status: str) -> None:
    """RFC 7208 section 8, RFC 7372 section 3.2: what becomes of each result is the operator's to say; by default nothing."""
    marking = trial("192.0.2.99")
    assert await marking.mail(sender) is None
    assert marking.tx.results["spf"][0] == outcome
    refusing = trial("192.0.2.99", **{outcome: "reject"})
    assert said(await refusing.mail(sender)).startswith(f"550 {status} ")
    deferring = trial("192.0.2.99", **{outcome: "defer"})
    assert said(await deferring.mail(sender)).startswith(f"451 4{status[1:]} ")


async def test_trouble_with_dns_can_only_defer() -> None:
    """C64, RFC 7208 section 8.6: a temperror says nothing about the sender."""
    assert await trial().mail("a@slow.example") is None
    assert said(await trial(temperror="defer").mail("a@slow.example")).startswith("451 4.7.24 ")
    with pytest.raises(ConfigError):
        trial(temperror="reject")


async def test_the_helo_name_has_knobs_of_its_own() -> None:
    """RFC 7208 section 2.3: the HELO name may be refused where MAIL FROM is only marked."""
    session = trial("192.0.2.99", helo_fail="reject")
    await session.helo("client.example")
    assert said(await session.mail("a@soft.example")) == (
        "550 5.7.23 client.example says that 192.0.2.99 does not send its mail (SPF, HELO)"
    )
    unchecked = trial("192.0.2.99", helo_fail="reject", helo=False)
    await unchecked.helo("client.example")
    assert await unchecked.mail("a@soft.example") is None
    assert unchecked.session.authentication == []


async def test_the_domain_s_explanation_is_said_as_its_own() -> None:
    """RFC 7208 section 6.2: the explanation is given, and it is plain who said it."""
    verdict = await trial("192.0.2.99", fail="reject").mail("a@example.com")
    assert isinstance(verdict, Verdict)
    assert verdict.reply is not None
    assert verdict.reply.lines == (
        "example.com says that 192.0.2.99 does not send its mail (SPF, MAIL FROM)",
        "example.com explains: 192.0.2.99 is not ours, a@example.com",
    )


async def test_no_explanation_is_fetched_for_mail_that_is_only_marked() -> None:
    """Nobody would hear it: one question of DNS less."""
    dns = FakeResolver(RECORDS)
    session = Trial.of(Spf, {}, ip="192.0.2.99", dns=dns)
    await session.mail("a@example.com")
    assert ("why.example.com", "TXT") not in dns.asked


async def test_a_client_that_greets_again_is_checked_again() -> None:
    """RFC 7208 section 2.3: the HELO name is the last one; mail by mail it is looked up once."""
    dns = FakeResolver(RECORDS)
    session = Trial.of(Spf, {}, dns=dns)
    await session.helo("client.example")
    await session.mail("a@example.com")
    await session.mail("b@example.com")
    assert dns.asked.count(("client.example", "TXT")) == 1
    await session.helo("soft.example")
    await session.mail("a@example.com")
    assert session.session.results["spf"] == ("softfail", "soft.example: ~all")
    assert [each.said_of("smtp.helo") for each in session.session.authentication] == ["soft.example"]


async def test_those_who_send_for_us_are_not_checked() -> None:
    """RFC 7208 section 2.2: the check is for mail from outside; relays, accounts and trusted networks are within."""
    for change in ({"relaying": True}, {"identity": "anna"}, {"role": "submission"}, {"role": "lmtp"}):
        dns = FakeResolver(RECORDS)
        session = Trial.of(Spf, {"fail": "reject"}, ip="192.0.2.99", dns=dns)
        for name, value in change.items():
            setattr(session.session, name, value)
        assert await session.mail("a@example.com") is None
        assert session.tx.results["spf"] == ("skip", "one of ours")
        assert dns.asked == []
    trusting = trial("192.0.2.99", fail="reject", trusted=["192.0.2.96/28"])
    assert await trusting.mail("a@example.com") is None


@pytest.mark.parametrize(("wanted", "left"), [("keep", 3), ("remove", 1)])
async def test_received_spf_of_others_goes_where_that_is_wanted(wanted: str, left: int) -> None:
    """RFC 7208 section 9.1: a forged field must not pass for ours; ours stays, and so do those of mail that is handed on for us."""
    content = message(top=[("Received-SPF", "pass (forged)"), ("RECEIVED-SPF", "pass (forged too)")])
    for ip, fields in (("192.0.2.1", left), ("198.51.100.9", 2)):
        session = trial(ip, received_spf=True, helo=False, foreign_received_spf=wanted, trusted=["198.51.100.0/24"])
        await session.helo("client.example")
        await session.mail("a@example.com")
        await session.message(content)
        found = Headers.of(session.tx.edited).all("Received-SPF")
        assert len(found) == fields
        assert ("forged" in found[-1]) == (fields > 1)


async def test_received_spf_is_written_where_it_is_wanted() -> None:
    """C66, RFC 7208 section 9.1: the field says which identity was checked, with which result."""
    session = trial(received_spf=True)
    await session.helo("client.example")
    await session.mail("a@example.com")
    helo, mail = (field.decode().replace("\r\n ", " ") for field in session.tx.added)
    assert helo.startswith(
        "Received-SPF: pass (mx.example.org: domain of postmaster@client.example designates 192.0.2.1 "
    )
    assert "identity=helo; client-ip=192.0.2.1; helo=client.example; mechanism=a" in helo
    assert 'identity=mailfrom; client-ip=192.0.2.1; envelope-from="a@example.com"; helo=client.example;' in mail


class SilentDns(FakeResolver):
    """A DNS that never says anything."""

    async def query(self, name: str, kind: str) -> Answer:
        """Wait for ever."""
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")


async def test_a_check_that_is_not_finished_is_a_temperror() -> None:
    """C64: at the hook's deadline the result is a temperror, for DMARC too, and mail goes on."""
    session = Trial.of(Spf, {"deadline": 0.01, "helo": False, "fail": "reject"}, dns=SilentDns())
    assert await session.mail("a@example.com") is None
    assert session.tx.results["spf"] == ("temperror", "the check was not finished")
    assert session.tx.authentication == [MethodResult("spf", "temperror")]
    assert [name for name, _ in session.events] == ["plugin.failed"]


async def test_evidence_has_a_bound() -> None:
    """SPF-01: a term may be as long as a record; a result holds its beginning."""
    term = "exists:" + "%{d}." * 1000 + "example"
    records = {("example.com", "TXT"): [f"v=spf1 {term} -all"], ("example", "A"): ["127.0.0.2"]}
    resolver = FakeResolver(records)
    session = Trial.of(Spf, {"helo": False}, dns=resolver)
    await session.mail("a@example.com")
    resolver.set(resolver.asked[-1][0], "A", ["127.0.0.2"])
    await session.mail("a@example.com")
    result, evidence = session.tx.results["spf"]
    assert result == "pass"
    assert len(evidence) == len("example.com: ") + 200
