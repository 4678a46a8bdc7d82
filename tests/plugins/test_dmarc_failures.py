"""When the plugin dmarc has a domain told of a single message: rarely, and never of what a program sent."""

from __future__ import annotations

import pytest

from upesi.mailauth.failure import MAX_FAILURE_HEADER, Failure
from upesi.mailauth.results import MethodResult
from upesi.plugins.dmarc.plugin import Dmarc
from upesi.testkit import FakeResolver, Trial, message
from upesi.testkit.services import MemoryFailures

RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject; ruf=mailto:r@bank.example"],
    ("_dmarc.mild.example", "TXT"): ["v=DMARC1; p=quarantine; fo=1; ruf=mailto:r@mild.example"],
    ("_dmarc.lax.example", "TXT"): ["v=DMARC1; p=none; ruf=mailto:r@lax.example"],
    ("_dmarc.quiet.example", "TXT"): ["v=DMARC1; p=reject; rua=mailto:r@quiet.example"],
}
ON = {"failure_reports": True}


async def told(
    author: str = "x@bank.example",
    *passed: MethodResult,
    settings: dict[str, object] | None = None,
    sender: str = "x@elsewhere.example",
    relaying: bool = False,
    **fields: str,
) -> list[Failure]:
    """Run a message, and return what was handed on for reports."""
    kept = MemoryFailures()
    trial = Trial.of(
        Dmarc,
        ON if settings is None else settings,
        ip="192.0.2.1",
        dns=FakeResolver(RECORDS),
        services={"failures": kept},
    )
    trial.session.relaying = relaying
    await trial.mail(sender)
    trial.tx.authentication.extend(passed)
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    await trial.message(message(fields={"From": author, **named}))
    return kept.noted


def spf(domain: str, result: str = "pass") -> MethodResult:
    return MethodResult("spf", result, properties=(("smtp.mailfrom", f"bounce@{domain}"),))


async def test_it_is_off_unless_switched_on() -> None:
    """C80: RFC 9991 section 7: nobody is told of single messages by default."""
    assert await told(settings={}) == []
    assert len(await told()) == 1


@pytest.mark.parametrize(
    ("author", "delivery"), [("x@bank.example", "reject"), ("x@mild.example", "policy"), ("x@lax.example", "")]
)
async def test_what_is_handed_on_is_the_message_without_its_body(author: str, delivery: str) -> None:
    """C80: RFC 6591 section 3.2: who sent, what was found and done; results of this check among them."""
    (failure,) = await told(author, spf("elsewhere.example"))
    assert (failure.kind, failure.author, failure.source, failure.delivery) == (
        "dmarc", author.partition("@")[2], "192.0.2.1", delivery,
    )  # fmt: skip
    assert str(failure.reverse_path) == "x@elsewhere.example"
    assert [each.method for each in failure.results] == ["spf", "dmarc"]
    assert f"From: {author}\r\n".encode() in failure.header
    assert failure.header.endswith(b"\r\n")
    assert b"\r\n\r\n" not in failure.header


async def test_a_long_header_is_cut() -> None:
    """C80: MAX_FAILURE_HEADER."""
    (failure,) = await told(X_Long=" ".join(["x" * 60] * 500))
    assert len(failure.header) == MAX_FAILURE_HEADER


async def test_a_domain_is_told_of_what_it_asks_for() -> None:
    """C80: `fo` and `ruf`: of half a failure with 1, of none that passes in every way, of nothing without an address."""
    assert len(await told("x@mild.example", spf("mild.example"))) == 1
    both = MethodResult("dkim", "pass", properties=(("header.d", "mild.example"),))
    assert await told("x@mild.example", spf("mild.example"), both) == []
    assert await told("x@bank.example", spf("bank.example")) == []
    assert await told("x@quiet.example") == []
    assert await told("x@unknown.example") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"sender": ""},
        {"Auto_Submitted": "auto-generated"},
        {"Auto_Submitted": "Auto-Replied; owner-email=x"},
        {"Auto_Submitted": "auto-notified (by cron)"},
        {"Content_Type": 'Multipart/Report; report-type=feedback-report; boundary="b"'},
        {"Content_Type": "multipart/report (a bounce); boundary=b"},
        {"Content_Type": "message/feedback-report"},
        {"Subject": "Report Domain: bank.example Submitter: x Report-ID: <y>"},
    ],
)
async def test_nobody_is_told_of_what_a_program_sent(fields: dict[str, str]) -> None:
    """C80: RFC 9991 section 5.1, RFC 3834 section 2: two servers cannot report on each other's reports for ever."""
    assert await told(**fields) == []  # type: ignore[arg-type]


async def test_people_who_say_that_they_are_people_are_told_of() -> None:
    """C80: RFC 3834 section 5.1: "no" is said by no program."""
    assert len(await told(Auto_Submitted="no", Content_Type="multipart/mixed; boundary=report")) == 1


async def test_mail_of_our_own_people_is_nobody_elses_business() -> None:
    """C80: who may relay is not checked, and not told of."""
    assert await told(relaying=True) == []


async def test_mail_that_is_put_off_is_told_of_when_it_comes_again() -> None:
    """C80: one message, one report."""
    assert await told("x@bank.example", spf("elsewhere.example", "temperror")) == []
