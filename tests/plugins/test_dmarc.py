"""The bundled plugin dmarc, as a session meets it."""

from __future__ import annotations

import pytest

from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.mailauth.observation import Observation, Published
from upesi.mailauth.results import MethodResult
from upesi.plugins.dmarc.plugin import Dmarc
from upesi.testkit import FakeResolver, Trial, message

RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject; rua=mailto:reports@bank.example"],
    ("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=quarantine; adkim=s"],
    ("_dmarc.test.example", "TXT"): ["v=DMARC1; p=reject; t=y; rua=mailto:r@test.example"],
    ("_dmarc.mild.example", "TXT"): ["v=DMARC1; p=none; rua=mailto:r@mild.example"],
    ("_dmarc.broken.example", "TXT"): Status.SERVFAIL,
}
REJECTED = "550 5.7.26 bank.example asks to refuse mail that is not authenticated as its own (DMARC)"


class Kept:
    """The service `reports`."""

    def __init__(self) -> None:
        self.rows: list[tuple[Published, Observation]] = []

    def note(self, published: Published, observation: Observation) -> None:
        self.rows.append((published, observation))


class Judged:
    """What came of one message."""

    def __init__(self, trial: Trial, kept: Kept, verdict: object) -> None:
        self.trial = trial
        self.rows = kept.rows
        self.said = str(verdict.reply) if isinstance(verdict, Verdict) else ""
        self.result = trial.tx.results["dmarc"][0]
        self.told = [each for each in trial.tx.authentication if each.method == "dmarc"]


async def judged(
    author: str | None,
    *passed: MethodResult,
    sender: str = "x@elsewhere.example",
    fields: dict[str, str | None] | None = None,
    ip: str = "192.0.2.1",
    **settings: object,
) -> Judged:
    """Run a message whose From field is `author`, after the other methods have left their results."""
    kept = Kept()
    trial = Trial.of(Dmarc, settings, ip=ip, dns=FakeResolver(RECORDS), services={"reports": kept})
    await trial.mail(sender)
    trial.tx.authentication.extend(passed)
    return Judged(trial, kept, await trial.message(message(fields={"From": author, **(fields or {})})))


def spf(domain: str, result: str = "pass") -> MethodResult:
    return MethodResult("spf", result, properties=(("smtp.mailfrom", f"bounce@{domain}"),))


def dkim(domain: str, result: str = "pass") -> MethodResult:
    return MethodResult("dkim", result, properties=(("header.d", domain), ("header.s", "s1")))


async def test_mail_that_nobody_vouches_for_is_refused_where_its_domain_asks_for_that():
    """RFC 9989 section 5.3: p=reject is honoured by default, with X.7.26 (RFC 7372)."""
    found = await judged("ceo@bank.example", spf("attacker.example"), dkim("attacker.example"))
    assert found.said == REJECTED
    assert found.result == "fail"
    assert found.told[0].properties == (("header.from", "bank.example"), ("policy.dmarc", "reject"))


@pytest.mark.parametrize("vouched", [spf("bank.example"), dkim("bank.example"), dkim("mail.bank.example")])
async def test_mail_that_spf_or_dkim_vouches_for_passes(vouched: MethodResult):
    """C76: one aligned domain is enough, a subdomain where alignment is relaxed."""
    found = await judged("ceo@bank.example", vouched)
    assert (found.said, found.result) == ("", "pass")
    assert found.rows[0][1].disposition == "pass"
