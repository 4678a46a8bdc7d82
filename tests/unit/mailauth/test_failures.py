"""Which messages a domain wants failure reports of, and what failed in them (RFC 9989 section 4.7, RFC 9991 section 4)."""

from __future__ import annotations

import pytest

from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import Question, answered_from
from upesi.mailauth.dmarc import DmarcOutcome, DmarcResult
from upesi.mailauth.dmarc_record import dmarc_record
from upesi.mailauth.failure import (
    MAX_FAILURE_HEADER,
    MAX_FAILURE_RESULTS,
    FailedIdentities,
    Failure,
    failed_identities,
    failure_of,
    failure_sought,
)
from upesi.mailauth.results import MethodResult

RUF = "ruf=mailto:r@bank.example"
ZONE: dict[tuple[str, str], tuple[str, ...]] = {
    ("_dmarc.bank.example", "TXT"): ("v=DMARC1; p=reject",),
    ("mail.bank.example", "TXT"): ("unrelated", "v=spf1 ip4:192.0.2.1 -all"),
    ("long.bank.example", "TXT"): ("v=spf1 " + "a " * 1000,),
}


def said(question: Question) -> Answer:
    if "silent" in question.name:
        return Answer(Status.TIMEOUT)
    texts = ZONE.get((question.name, question.kind))
    return Answer(Status.OK, texts=texts) if texts else Answer(Status.NXDOMAIN)


def signed(domain: str, result: str, reason: str = "") -> MethodResult:
    return MethodResult("dkim", result, reason, (("header.d", domain), ("header.s", "s")) if domain else ())


def sent(domain: str, result: str) -> MethodResult:
    return MethodResult("spf", result, "", (("smtp.mailfrom", f"bounce@{domain}"),))


def outcome(tags: str, result: DmarcResult = "fail", dkim: str = "", spf: str = "") -> DmarcOutcome:
    record = dmarc_record(f"v=DMARC1; p=none; {tags}")
    return DmarcOutcome(result, "bank.example", holder="bank.example", record=record, dkim=dkim, spf=spf)


BOTH = {"dkim": "bank.example", "spf": "bank.example"}
BROKEN = signed("elsewhere.example", "fail", "signature does not match")


@pytest.mark.parametrize(
    ("tags", "aligned", "results", "kind"),
    [
        # by default, and with 0: nothing aligned passed
        (RUF, {}, (), "dmarc"),
        (f"{RUF}; fo=0", {}, (), "dmarc"),
        (f"{RUF}; fo=0", {"spf": "bank.example"}, (BROKEN,), None),
        (f"{RUF}; fo=0:1", {}, (), "dmarc"),
        # 1: one of them did not
        (f"{RUF}; fo=1", {"spf": "bank.example"}, (), "dmarc"),
        (f"{RUF}; fo=1", BOTH, (BROKEN,), None),
        # d: a signature failed, whoever made it
        (f"{RUF}; fo=d", BOTH, (BROKEN,), "signature"),
        (f"{RUF}; fo=d", {}, (), None),
        (f"{RUF}; fo=d", {}, (signed("a.example", "fail", "body was changed"),), "bodyhash"),
        (f"{RUF}; fo=d", {}, (signed("a.example", "permerror", "key was revoked"),), "revoked"),
        (f"{RUF}; fo=d", {}, (signed("a.example", "neutral"), signed("", "permerror"), signed("a.example", "temperror")), None),
        # s: SPF failed, aligned or not
        (f"{RUF}; fo=s", BOTH, (sent("a.example", "fail"),), "spf"),
        (f"{RUF}; fo=s", {}, (sent("a.example", "softfail"),), "spf"),
        (f"{RUF}; fo=s", {}, (sent("a.example", "temperror"), sent("a.example", "none")), None),
        # both: one report, of the first that holds
        (f"{RUF}; fo=d:s", {}, (BROKEN, sent("a.example", "fail")), "signature"),
        (f"{RUF}; fo=1:d:s", {}, (BROKEN, sent("a.example", "fail")), "dmarc"),
        # nobody asks, or nobody may
        ("fo=1", {}, (), None),
        ("rua=mailto:r@bank.example", {}, (), None),
        (f"{RUF}; psd=y", {}, (), None),
    ],
)  # fmt: skip
def test_a_record_says_of_what_it_wants_to_hear(
    tags: str, aligned: dict[str, str], results: tuple[MethodResult, ...], kind: str | None
) -> None:
    """C80: RFC 9989 section 4.7, `fo`; RFC 9991 section 2, `psd=y`."""
    result: DmarcResult = "pass" if aligned else "fail"
    assert failure_sought(outcome(tags, result, **aligned), results) == kind


@pytest.mark.parametrize("result", ["none", "temperror", "permerror"])
def test_what_is_no_failure_is_not_reported(result: DmarcResult) -> None:
    """C80: nobody hears of trouble with his own DNS this way."""
    assert failure_sought(outcome(RUF, result), ()) is None


def failed(tags: str, kind: str, *results: MethodResult) -> Failure:
    return failure_of(
        outcome(tags), kind, results, client=("192.0.2.1", 25), reverse_path=None, envelope_id="", arrived=0.0,
        header=b"x" * (MAX_FAILURE_HEADER + 1), delivery="",
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize(
    ("tags", "kind", "results", "signer", "spf"),
    [
        (RUF, "dmarc", (BROKEN, signed("bank.example", "fail")), "bank.example", ""),
        (RUF, "dmarc", (signed("mail.bank.example", "fail"),), "mail.bank.example", ""),
        (f"{RUF}; adkim=s", "dmarc", (signed("mail.bank.example", "fail"),), "", ""),
        (RUF, "dmarc", (BROKEN, signed("(", "fail"), signed("bank.example", "pass")), "", ""),
        (RUF, "dmarc", (signed("silent.bank.example", "fail"),), "", ""),
        (RUF, "dmarc", (sent("mail.bank.example", "fail"),), "", "mail.bank.example"),
        (f"{RUF}; aspf=s", "dmarc", (sent("mail.bank.example", "fail"),), "", ""),
        (RUF, "dmarc", (sent("elsewhere.example", "fail"),), "", ""),
        (RUF, "signature", (BROKEN, sent("bank.example", "fail")), "elsewhere.example", ""),
        (RUF, "spf", (BROKEN, sent("elsewhere.example", "fail")), "", "elsewhere.example"),
    ],
)  # fmt: skip
def test_what_failed_is_named(tags: str, kind: str, results: tuple[MethodResult, ...], signer: str, spf: str) -> None:
    """C80: RFC 9991 section 4: identities that are aligned; RFC 6591 of one method: whatever failed."""
    found = answered_from(failed_identities(failed(tags, kind, *results)), said)
    assert (found.signature.said_of("header.d") if found.signature else "", found.spf_domain) == (signer, spf)


def test_the_spf_record_is_quoted_if_it_is_one() -> None:
    """C80: SPF-DNS, bounded."""
    texts = [
        answered_from(failed_identities(failed(RUF, "spf", sent(domain, "fail"))), said).spf_text
        for domain in ("mail.bank.example", "long.bank.example", "none.example", "silent.example")
    ]
    assert texts == ["v=spf1 ip4:192.0.2.1 -all", "", "", ""]
    assert answered_from(failed_identities(failed(RUF, "dmarc")), said) == FailedIdentities()


def test_what_is_kept_is_bounded() -> None:
    """C80: who forges a message does not choose how much of it waits in memory."""
    kept = failed(RUF, "dmarc", *[BROKEN] * 100)
    assert (len(kept.header), len(kept.results)) == (MAX_FAILURE_HEADER, MAX_FAILURE_RESULTS)
