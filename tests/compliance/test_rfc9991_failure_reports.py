"""RFC 9991, RFC 6591, RFC 5965: whatever a message is, a report about it has its form and names nobody; and no report makes another."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.feedback import read_feedback
from upesi.mail.headers import Headers
from upesi.mail.ids import MessageId
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.failure import FailedIdentities, Failure
from upesi.mailauth.results import MethodResult
from upesi.plugins.dmarc.plugin import Dmarc
from upesi.reports.arf import FailureReport, failure_report
from upesi.reports.arf_redaction import Redactor
from upesi.testkit import FakeResolver, Trial
from upesi.testkit.services import MemoryFailures

ID = MessageId(bytes(range(16)))
TO = Address("r", "bank.example")
# a local part that no digest can be: digests have no capitals
NAME = "QZJperson"
ADDRESSES = st.sampled_from(
    [
        f"{NAME}@bank.example", f"<{NAME}@bank.example>", f'"{NAME}" <{NAME}@bank.example>', f'"{NAME} x"@bank.example', f"{NAME}@",
        f"{NAME} <x@bank.example> ({NAME})", f"@bank.example:{NAME}@x.example", f"{NAME}@[192.0.2.1]", f"{NAME}@x@bank.example",
        f"=?utf-8?q?{NAME}?= <{NAME}@bank.example>", f"mailto:{NAME}@bank.example", f"g: {NAME}@bank.example;", f"{NAME}\\@x@bank.example",
        f"prvs=tag={NAME}@bank.example", f"{NAME}%x@bank.example", f"a!{NAME}@bank.example",
    ]
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "From", "To", "Cc", "Bcc", "Reply-To", "Sender", "Return-Path", "Delivered-To", "Message-ID", "References", "Resent-To",
        "X-Own", "Subject", "Date", "List-Id", "Content-Type",
    ]
)  # fmt: skip
FILLING = st.sampled_from([", ", "\r\n ", " ", ";", "\t", "\u00fc", "\x00", "(", ")", '"', "--=_x", "\u202e"])
VALUES = st.lists(st.one_of(ADDRESSES, FILLING), max_size=6).map("".join)
TRACES = st.sampled_from(
    [
        f"Received: from x.example (y.example [192.0.2.1]) (Authenticated sender: {NAME}) by z.example for <{NAME}@bank.example>; now",
        f"Received: by z.example (qmail uid {NAME}); Tue, 19 Jul 2022 07:57:33 +0200",
        f"DKIM-Signature: v=1; d=bank.example; i={NAME}@bank.example; z=From:{NAME}=40bank.example; b=QUJD",
        f"Authentication-Results: x.example; spf=pass smtp.mailfrom={NAME}@bank.example",
        f"Received-SPF: pass (x: {NAME}@bank.example) envelope-from={NAME}@bank.example",
        f"ARC-Authentication-Results: i=1; x.example; auth=pass smtp.auth={NAME}",
    ]
)
FIELDS = st.one_of(st.builds("{}: {}".format, NAMES, VALUES), TRACES)
SECTIONS = st.lists(FIELDS, max_size=12).map(lambda fields: "".join(f"{field}\r\n" for field in fields).encode())


def failure(header: bytes, **changes: object) -> Failure:
    values: dict[str, object] = {
        "kind": "dmarc", "holder": "bank.example", "author": "bank.example", "wanted": (ReportUri(TO),), "dkim_aligned": False,
        "spf_aligned": False, "strict_dkim": False, "strict_spf": False, "source": "192.0.2.1", "port": 25, "arrived": 1_795_342_577.0,
        "results": (MethodResult("spf", "fail", NAME, (("smtp.mailfrom", f"{NAME}@bank.example"),)),),
        "reverse_path": Address(NAME, "bank.example"), "envelope_id": "", "header": header,
    }  # fmt: skip
    return Failure(**{**values, **changes})  # type: ignore[arg-type]


def report(about: Failure) -> bytes:
    made = FailureReport(
        about, FailedIdentities(), Address("postmaster", "mx.example"), "mx.example", 1, about.arrived + 1
    )
    return failure_report(made, TO, ID, b"k" * 32)


@settings(max_examples=300, deadline=None)
@given(SECTIONS)
def test_a_report_names_nobody(header: bytes) -> None:
    """C80: RFC 9991 section 7, RFC 6590: no local part, display name or login of the message is in the report about it."""
    octets = report(failure(header))
    assert NAME.encode() not in octets
    found = read_feedback(MemoryBody(octets))
    assert (
        found.get("Original-Mail-From")
        == f"<{Redactor(b'k' * 32, 'bank.example').text(f'{NAME}@bank.example')}@bank.example>"
    )


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600) | SECTIONS, st.text(max_size=40), st.text(max_size=40))
def test_a_report_keeps_its_form(header: bytes, words: str, envelope_id: str) -> None:
    """C80, C100: RFC 5965 section 2: 7-bit lines within their bound, three parts, whatever a stranger wrote."""
    results = (
        MethodResult("dkim", "fail", words, (("header.d", words), ("header.i", words), ("smtp.mailfrom", words))),
    )
    octets = report(
        failure(header, results=results, envelope_id=envelope_id, reverse_path=Address(words, "bank.example"))
    )
    assert octets.isascii()
    lines = octets.split(b"\r\n")
    assert all(len(line) <= 998 and not set(line) & set(b"\r\n\0") for line in lines)
    assert sum(line.startswith(b"--=_" + ID.hex().encode()) for line in lines) == 4
    found = read_feedback(MemoryBody(octets))
    assert (found.kind, found.get("Auth-Failure"), found.unaligned, found.whole) == (
        "auth-failure", "dmarc", ("dkim", "spf"), False,
    )  # fmt: skip
    assert all(re.fullmatch(r"[!-9;-~]+", name) for name, _ in found.reported.fields())


@given(SECTIONS, st.binary(max_size=100))
def test_nothing_behind_the_header_section_is_in_a_report(header: bytes, body: bytes) -> None:
    """C80: the body stays here, even where whoever makes the report was handed some of it."""
    section = Headers(header).section[2:]
    plain = report(failure(section))
    assert report(failure(section + b"\r\n" + body if section else section)) == plain


async def test_no_report_makes_another() -> None:
    """C80: RFC 9991 section 5.1: a report that comes back, or that another server sends us unaligned, is told to nobody."""
    records = {("_dmarc.mx.example", "TXT"): ["v=DMARC1; p=reject; fo=1:d:s; ruf=mailto:r@mx.example"]}
    for sender in ("", "someone@elsewhere.example"):
        kept = MemoryFailures()
        trial = Trial.of(
            Dmarc, {"failure_reports": True, "reject": "mark"}, dns=FakeResolver(records), services={"failures": kept}
        )
        await trial.mail(sender)
        await trial.message(report(failure(b"From: x@bank.example\r\n")))
        assert trial.tx.results["dmarc"][0] == "fail"
        assert kept.noted == []
