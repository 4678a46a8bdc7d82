"""The bundled plugin dmarc, as a session meets it."""

from __future__ import annotations

import pytest

from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.mailauth.arc import ArcOutcome
from upesi.mailauth.results import MethodResult
from upesi.plugins.dmarc.plugin import Dmarc
from upesi.testkit import FakeResolver, Trial, message
from upesi.testkit.services import MemoryReports

RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject; rua=mailto:reports@bank.example"],
    ("_dmarc.shop.example", "TXT"): ["v=DMARC1; p=quarantine; adkim=s"],
    ("_dmarc.test.example", "TXT"): ["v=DMARC1; p=reject; t=y; rua=mailto:r@test.example"],
    ("_dmarc.mild.example", "TXT"): ["v=DMARC1; p=none; rua=mailto:r@mild.example"],
    ("_dmarc.broken.example", "TXT"): Status.SERVFAIL,
    ("_dmarc.wrong.example", "TXT"): ["v=DMARC1; p=block"],
}
FIVE = ", ".join(f"{name}@{name}.example" for name in "abcde")
REJECTED = "550 5.7.26 bank.example asks to refuse mail that is not authenticated as its own (DMARC)"
SET_ASIDE = "shop.example asks to set aside mail that is not authenticated as its own (DMARC)"
UNPROVED = "550 5.7.26 This mail is not authenticated as mild.example's own (DMARC)"


class Judged:
    """What came of one message."""

    def __init__(self, trial: Trial, kept: MemoryReports, verdict: object) -> None:
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
    arc: ArcOutcome | None = None,
    relaying: bool = False,
    **settings: object,
) -> Judged:
    """Run a message whose From field is `author`, after the other methods have left their results."""
    kept = MemoryReports()
    trial = Trial.of(Dmarc, settings, ip=ip, dns=FakeResolver(RECORDS), services={"reports": kept})
    trial.session.relaying = relaying
    await trial.mail(sender)
    trial.tx.authentication.extend(passed)
    if arc is not None:
        trial.tx.notes["arc.outcome"] = arc
    return Judged(trial, kept, await trial.message(message(fields={"From": author, **(fields or {})})))


def spf(domain: str, result: str = "pass") -> MethodResult:
    return MethodResult("spf", result, properties=(("smtp.mailfrom", f"bounce@{domain}"),))


def dkim(domain: str, result: str = "pass") -> MethodResult:
    return MethodResult("dkim", result, properties=(("header.d", domain), ("header.s", "s1")))


async def test_mail_that_nobody_vouches_for_is_refused_where_its_domain_asks_for_that():
    """RFC 9989 section 5.3.6: p=reject is honoured by default, with X.7.26 (RFC 7372)."""
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


@pytest.mark.parametrize(
    ("author", "settings", "said", "result"),
    [
        ("x@bank.example", {}, REJECTED, "fail"),
        ("x@bank.example", {"reject": "defer"}, REJECTED.replace("550 5", "451 4"), "fail"),
        ("x@bank.example", {"reject": "quarantine"}, "", "fail"),
        ("x@bank.example", {"reject": "mark"}, "", "fail"),
        ("x@bank.example", {"overrides": {"bank.example": "mark"}}, "", "fail"),
        ("x@a.bank.example", {"overrides": {".bank.example": "mark"}}, "", "fail"),
        ("x@shop.example", {}, "", "fail"),
        ("x@shop.example", {"quarantine": "reject"}, f"550 5.7.26 {SET_ASIDE}", "fail"),
        ("x@mild.example", {}, "", "fail"),
        ("x@mild.example", {"overrides": {"mild.example": "reject"}}, UNPROVED, "fail"),
        ("x@test.example", {}, "", "fail"),
        ("x@none.example", {}, "", "none"),
        # RFC 9989 section 4.10.1: no DMARC for it, whatever is done with authors who cannot be read
        ("x@wrong.example", {}, "", "permerror"),
        (FIVE, {}, "550 5.7.1 The From field cannot be checked: 5 author domains", "permerror"),
        (FIVE, {"unreadable_from": "mark"}, "", "permerror"),
        ("x@broken.example", {}, "451 4.7.26 The DMARC policy of broken.example could not be looked up", "temperror"),
        ("x@broken.example", {"temperror": "mark"}, "", "temperror"),
        (None, {}, "550 5.7.1 Message not accepted: there is no From field", "permerror"),
        (None, {"no_author": "mark"}, "", "permerror"),
        ("x@bank.example y", {}, "550 5.7.1 Message not accepted: the From field cannot be read in one way", "permerror"),
        ("x@bank.example y", {"unreadable_from": "mark"}, "", "permerror"),
        ("x@bank.example", {"trusted": ["192.0.2.0/24"]}, "", "skip"),
    ],
)  # fmt: skip
async def test_every_outcome_has_a_knob(author: str | None, settings: dict[str, object], said: str, result: str):
    """RFC 9989 section 5.4: the owner's wish is honoured by default, and what is done is the operator's choice."""
    found = await judged(author, **settings)
    assert (found.said, found.result) == (said, result)


async def test_several_from_fields_are_refused_whatever_passed():
    """C78, RFC 9989 section 11.5: 550 5.7.1, and marked mail is permerror, never a pass."""
    two = {"From": None, "X": "y\r\nFrom: a@attacker.example\r\nFrom: ceo@bank.example"}
    found = await judged(None, dkim("attacker.example"), dkim("bank.example"), fields=two)
    assert found.said == "550 5.7.1 Message not accepted: there are several From fields"
    marked = await judged(None, dkim("bank.example"), fields=two, several_from="mark")
    assert (marked.said, marked.result, marked.told[0].result) == ("", "permerror", "permerror")


async def test_quarantine_leaves_a_note_for_whoever_quarantines():
    """RFC 9989 section 4.7: the mail is taken, and its suspicion with it."""
    found = await judged("x@shop.example")
    assert found.trial.tx.notes["quarantine"] == f"dmarc: {SET_ASIDE}"
    assert "quarantine" not in (await judged("x@shop.example", dkim("shop.example"))).trial.tx.notes


async def test_a_check_that_could_pass_later_defers_and_does_not_refuse():
    """RFC 9989 section 5.3.6: a key that could not be fetched must not bounce honest mail."""
    found = await judged("x@bank.example", dkim("bank.example", "temperror"))
    assert found.said == "451 4.7.26 A check of the message could not be finished, please try again later"
    assert found.rows == []


async def test_the_helo_name_vouches_for_bounces_only():
    """RFC 9989 section 4.4.2: of SPF the MAIL FROM identity counts; of a null reverse-path that is postmaster at the HELO name."""
    helo = MethodResult("spf", "pass", properties=(("smtp.helo", "bank.example"),))
    assert (await judged("x@bank.example", helo)).result == "fail"
    null = MethodResult("spf", "pass", properties=(("smtp.mailfrom", "postmaster@bank.example"),))
    assert (await judged("x@bank.example", null, sender="<>")).result == "pass"


@pytest.mark.parametrize("result", ["fail", "neutral", "none", "policy", "softfail", "temperror", "permerror"])
async def test_only_pass_passes(result: str):
    """C73: a signature that does not count (l=, a short key) is "policy"."""
    found = await judged("x@bank.example", spf("bank.example", result), dkim("bank.example", result))
    assert found.result == "fail"


async def test_who_may_relay_is_not_checked():
    """Mail of our own users is signed on its way out, not checked on its way in."""
    found = await judged("x@bank.example", relaying=True)
    assert (found.said, found.result, found.told) == ("", "skip", [])


def chain(*sealed: tuple[str, str], result: str = "pass") -> ArcOutcome:
    return ArcOutcome(
        result, sets=len(sealed), sealers=tuple(d for d, _ in sealed), results=tuple(r for _, r in sealed)
    )


SEEN = "mx.list.example; spf=pass smtp.mailfrom=bank.example; dmarc=pass (p=REJECT) header.from=bank.example"
FAILED = "mx.list.example; dmarc=fail header.from=bank.example"


@pytest.mark.parametrize(
    ("arc", "believed"),
    [
        (chain(("list.example", SEEN)), True),
        (chain(("list.example", SEEN.replace("(p=REJECT)", "action=none"))), True),
        (chain(("other.example", SEEN)), False),
        (chain(("list.example", FAILED)), False),
        (chain(("list.example", SEEN), result="fail"), False),
        (chain(("list.example", SEEN), ("other.example", SEEN)), False),
        (chain(("other.example", SEEN), ("list.example", FAILED)), False),
        (chain(("list.example", SEEN), ("list.example", FAILED)), True),
        (chain(("list.example", SEEN.replace("from=bank", "from=attacker"))), False),
        (chain(("list.example", "mx.list.example; dmarc=pass")), False),
        (chain(("list.example", f"{SEEN}; dmarc=fail header.from=bank.example")), False),
        (chain(("list.example", "nonsense")), False),
        (chain(), False),
        (None, False),
    ],
)
async def test_a_sealer_is_believed_only_where_the_operator_trusts_it(arc: ArcOutcome | None, believed: bool):
    """C82, ARC-02, RFC 8617 section 7.2: the chain passes, every sealer since is trusted, and it saw this author pass."""
    found = await judged("x@bank.example", arc=arc, trusted_sealers=["list.example"])
    assert found.said == ("" if believed else REJECTED)
    assert found.result == "fail"
    ((_, row),) = found.rows
    assert row.disposition == ("none" if believed else "reject")
    assert row.override == ("trusted_forwarder" if believed else "")
    assert (await judged("x@bank.example", arc=arc)).said == REJECTED


@pytest.mark.parametrize(
    ("author", "settings", "disposition", "override"),
    [
        ("x@bank.example", {}, "reject", ""),
        ("x@bank.example", {"reject": "mark"}, "none", "local_policy"),
        ("x@bank.example", {"reject": "quarantine"}, "quarantine", "local_policy"),
        ("x@test.example", {}, "quarantine", "policy_test_mode"),
        ("x@mild.example", {}, "none", ""),
        ("x@bank.example", {"overrides": {"bank.example": "mark"}}, "none", "local_policy"),
        ("x@mild.example", {"none": "quarantine"}, "quarantine", "local_policy"),
    ],
)
async def test_reports_say_what_was_done_and_why(
    author: str, settings: dict[str, object], disposition: str, override: str
):
    """RFC 9990 section 3.1.1.9: the disposition, and the reason where it is not what was asked for."""
    found = await judged(author, spf("elsewhere.example"), dkim("list.example", "fail"), **settings)
    ((published, row),) = found.rows
    assert (published.domain, row.disposition, row.override) == (author[2:], disposition, override)
    assert (row.source, row.header_from, row.envelope_from) == ("192.0.2.1", author[2:], "elsewhere.example")
    assert [(each.domain, each.result, each.selector) for each in (*row.spf, *row.dkim)] == [
        ("elsewhere.example", "pass", ""),
        ("list.example", "fail", "s1"),
    ]


@pytest.mark.parametrize(
    ("domain", "disposition"), [("bank.example", "pass"), ("test.example", "pass"), ("mild.example", "none")]
)
async def test_pass_is_said_of_domains_that_ask_for_something(domain: str, disposition: str):
    """RFC 9990 appendix A, ActionDispositionType: "pass" under a policy that could have acted, else "none"."""
    found = await judged(f"x@{domain}", dkim(domain))
    assert (found.result, found.rows[0][1].disposition) == ("pass", disposition)


async def test_the_signatures_that_matter_are_reported_first():
    """RFC 9990 section 3.1.3: the author's own, an aligned one, others that pass, the rest."""
    junk = [dkim(f"x{n}.example", "fail") for n in range(5)]
    found = await judged("x@bank.example", *junk, dkim("z.example"), dkim("a.bank.example"), dkim("bank.example"))
    assert [said.domain for said in found.rows[0][1].dkim] == [
        "bank.example", "z.example", "a.bank.example", "x0.example", "x1.example",
    ]  # fmt: skip
    found = await judged("x@bank.example", *junk, dkim("z.example"), dkim("a.bank.example"))
    assert [said.domain for said in found.rows[0][1].dkim][:2] == ["a.bank.example", "z.example"]


async def test_nothing_is_kept_where_nobody_wants_a_report():
    """No rua, reports off, and reports themselves: two that report on each other's reports would never stop."""
    report = {"Subject": "Report Domain: bank.example Submitter: mx.example Report-ID: <1>"}
    assert (await judged("x@shop.example")).rows == []
    assert (await judged("x@bank.example", reports=False)).rows == []
    assert (await judged("x@bank.example", dkim("bank.example"), fields=report)).rows == []
    # whoever forges one is reported
    assert len((await judged("x@bank.example", fields=report)).rows) == 1
