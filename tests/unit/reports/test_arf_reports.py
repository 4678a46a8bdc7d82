"""Failure reports as messages: three parts, the fields that are asked for, and nothing of people."""

from __future__ import annotations

import email
import email.policy

import msgspec
import pytest

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.feedback import FeedbackReport, read_feedback
from upesi.mail.ids import MessageId
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.failure import MAX_FAILURE_HEADER, FailedIdentities, Failure
from upesi.mailauth.results import MethodResult
from upesi.reports.arf import MAX_FAILURE_REPORT, FailureReport, failure_report
from upesi.reports.arf_redaction import MAX_REDACTED_ADDRESSES, MAX_REDACTED_FIELDS, Redactor

ID = MessageId(bytes(range(16)))
KEY = b"k" * 32
TO = Address("r", "bank.example")
SIGNED = MethodResult(
    "dkim", "fail", "alice said so", (("header.d", "bank.example"), ("header.i", "alice@bank.example"), ("header.s", "sel"))
)  # fmt: skip
RESULTS = (
    MethodResult("auth", "pass", "", (("smtp.auth", "alice"),)),
    MethodResult("spf", "fail", "alice", (("smtp.mailfrom", "alice@bank.example"), ("smtp.remote-user", "alice"))),
    SIGNED,
    MethodResult("spf", "none", "", (("smtp.helo", "host.example"),)),
)
FAILURE = Failure(
    "dmarc", "bank.example", "mail.bank.example", (ReportUri(TO),), False, True, False, False, RESULTS, "2001:db8::1", 25,
    Address("alice", "bank.example"), "alice@token", 1_795_342_577.0, b"From: alice@bank.example\r\n", "policy",
)  # fmt: skip
REPORT = FailureReport(
    FAILURE, FailedIdentities(), Address("postmaster", "mx.example"), "mx.example", 1, 1_795_342_600.0
)


def made(report: FailureReport = REPORT, **changes: object) -> bytes:
    failure = msgspec.structs.replace(report.failure, **changes)
    return failure_report(msgspec.structs.replace(report, failure=failure), TO, ID, KEY)


def read(octets: bytes) -> FeedbackReport:
    return read_feedback(MemoryBody(octets))


def test_our_reader_and_the_librarys_read_what_we_write() -> None:
    """C80, C100: RFC 5965 section 2: three parts of the types that it names; sections 3.1: type, version, agent, once."""
    octets = made()
    parts = list(email.message_from_bytes(octets, policy=email.policy.default).iter_parts())
    assert [part.get_content_type() for part in parts] == [
        "text/plain",
        "message/feedback-report",
        "text/rfc822-headers",
    ]
    found = read(octets)
    assert (found.kind, found.version, found.user_agent, found.whole) == ("auth-failure", "1", "Upesi", False)
    assert (found.source, found.arrived, found.incidents, found.unaligned) == (
        "2001:db8::1",
        1_795_342_577.0,
        1,
        ("dkim",),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Auth-Failure", "dmarc"),
        ("Identity-Alignment", "dkim"),
        ("Delivery-Result", "policy"),
        ("Reported-Domain", "mail.bank.example"),
        ("Source-Port", "25"),
        ("Arrival-Date", "Sun, 22 Nov 2026 10:16:17 -0000"),
        ("Incidents", ""),
        ("DKIM-Domain", ""),
        ("DKIM-Canonicalized-Header", ""),
        ("DKIM-Canonicalized-Body", ""),
        ("Original-Rcpt-To", ""),
        ("SPF-DNS", ""),
    ],
)
def test_the_fields_say_what_they_must(name: str, value: str) -> None:
    """C80: RFC 6591 section 3.2, RFC 9991 section 4; what is not known, or would show the message, is not there."""
    assert read(made()).get(name) == value


def test_what_failed_is_named_where_it_is_known() -> None:
    """C80: RFC 9991 section 4: DKIM-Domain, -Identity, -Selector, SPF-DNS; RFC 5965: Incidents."""
    identities = FailedIdentities(SIGNED, "bank.example", 'v=spf1 exp="\\x" -all')
    found = read(made(msgspec.structs.replace(REPORT, identities=identities, incidents=7)))
    digest = Redactor(KEY, "bank.example").text("alice@bank.example")
    assert [found.get(f"DKIM-{name}") for name in ("Domain", "Identity", "Selector")] == [
        "bank.example", f"{digest}@bank.example", "sel",
    ]  # fmt: skip
    assert found.get("SPF-DNS") == 'txt : bank.example : "v=spf1 exp=\\"\\\\x\\" -all"'
    assert found.incidents == 7


def test_results_are_those_of_the_mail_and_say_nothing_of_people() -> None:
    """C80: who has logged in here, and reasons in a stranger's words, are not told."""
    said = read(made()).get("Authentication-Results")
    digest = Redactor(KEY, "bank.example").text("alice@bank.example")
    assert said == (
        f"mx.example; spf=fail smtp.mailfrom={digest}@bank.example; dkim=fail header.d=bank.example header.s=sel"
        f" header.i={digest}@bank.example; spf=none smtp.helo=host.example"
    )
    assert b"alice" not in made()


@pytest.mark.parametrize(
    ("changes", "unaligned"),
    [({"dkim_aligned": True}, "none"), ({"spf_aligned": False}, "dkim, spf"), ({"dkim_aligned": True, "spf_aligned": False}, "spf")],
)  # fmt: skip
def test_the_methods_that_failed_are_listed(changes: dict[str, object], unaligned: str) -> None:
    """C80: RFC 9991 section 4, id-align."""
    assert read(made(**changes)).get("Identity-Alignment") == unaligned


def test_programs_do_not_answer_a_report() -> None:
    """C80: RFC 3834 section 5, RFC 9991 section 5.1: made by a program, from a name that SPF vouches for."""
    headers = email.message_from_bytes(made())
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["From"] == "<postmaster@mx.example>"
    assert headers["Subject"] == "DMARC failure report for mail.bank.example"
    assert headers["Message-ID"] == f"<{ID.hex()}@mx.example>"


def digest(text: str, domain: str = "bank.example") -> str:
    return Redactor(KEY, domain).text(text)


A, B = digest("alice@bank.example"), digest("bob@host.example")
QUOTED = digest('"alice@home.example"')


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ('From: "Alice, the boss" <alice@Bank.example> (alice)', f"<{A}@bank.example>"),
        ("To: alice@bank.example, Bob<bob@host.example>;", f"<{A}@bank.example>, <{B}@host.example>"),
        ("To: undisclosed-recipients:;", digest("undisclosed-recipients:;")),
        ('Cc: "alice@home.example" <bob@host.example>', f"<{QUOTED}>, <{B}@host.example>"),
        ("Cc: a@b@host.example", f"<{digest('a@b@host.example')}@host.example>"),
        ("Reply-To: alice@localhost", f"<{digest('alice@localhost')}>"),
        ("Message-ID: <alice@bank.example>", f"<{A}@bank.example>"),
        ("Subject: alice wrote to bob", digest("alice wrote to bob")),
        ("X-Own: alice", digest("alice")),
        ("List-Unsubscribe: <mailto:alice@bank.example>", digest("<mailto:alice@bank.example>")),
        ("Authentication-Results: x; auth=pass smtp.auth=alice", digest("x; auth=pass smtp.auth=alice")),
        ("Date: Tue, 19 Jul 2022 07:57:33 +0200 (alice)", "Tue, 19 Jul 2022 05:57:33 -0000"),
        ("Date: alice", digest("alice")),
        ('Content-Type: text/plain; name="alice"', "text/plain"),
        ("Content-Type: alice/alice", digest("alice/alice")),
        ("Precedence: bulk", "bulk"),
        ("Precedence: alice", digest("alice")),
        (
            "Received: from pc.host.example (alice.pc [192.0.2.7]) (Authenticated sender: alice) by mx.example\r\n"
            " (Postfix) with ESMTPSA id alice for <bob@host.example>; Tue, 19 Jul 2022 07:57:33 +0200",
            "from pc.host.example ([192.0.2.7]) by mx.example with ESMTPSA; Tue, 19 Jul 2022 05:57:33 -0000",
        ),
        ("Received: from alice by alice@mx.example with alice", "from unknown"),
        ("Received: from pc.example (login by alice.pc; x", "from pc.example"),
        ("Received: (qmail 7 invoked by uid alice); alice", "from unknown"),
        (
            "DKIM-Signature: v=1; a=rsa-sha256; d=bank.example; s=sel; i=alice@bank.example; h=From:To;\r\n"
            " z=From:alice=40bank.example; bh=abc=; b=abc\r\n def=; alice=alice",
            f"v=1; a=rsa-sha256; d=bank.example; s=sel; i={A}@bank.example; h=From : To; bh=abc=; b=abcdef=",
        ),
        ("ARC-Seal: i=2; cv=pass; d=bank.example; b=abc", "i=2; cv=pass; d=bank.example; b=abc"),
        ("ARC-Seal: i=alice; d=(alice)", f"i={digest('alice')}"),
    ],
)  # fmt: skip
def test_a_field_is_told_without_those_who_are_in_it(field: str, told: str) -> None:
    """C80: RFC 6590, RFC 9991 section 7: domains, times, machines and signatures; of all else a keyed digest."""
    ((name, value),) = Redactor(KEY, "bank.example").fields(f"{field}\r\n".encode())
    assert (name, value) == (field.partition(":")[0], told)


def test_digests_are_of_one_domain_and_one_secret() -> None:
    """C80: RFC 6590 section 2: who reads the reports of two domains, or guesses, learns nothing by comparing."""
    text = "alice@bank.example"
    assert digest(text) == digest(text)
    assert len({digest(text), digest(text, "shop.example"), Redactor(b"other", "bank.example").text(text)}) == 3


def test_no_header_makes_a_report_that_is_too_large() -> None:
    """C80: of what waits in memory at the most, each of its bounds makes a message that is sent or left out."""
    many = b"a:\r\n" * (MAX_FAILURE_HEADER // 4)
    assert len(Redactor(KEY, "bank.example").fields(many)) == MAX_REDACTED_FIELDS
    wide = b"To: " + b"a@b.example," * 1000 + b"\r\n"
    ((_, value),) = Redactor(KEY, "bank.example").fields(wide)
    assert value.count("@") == MAX_REDACTED_ADDRESSES
    for header in (many, wide, b"DKIM-Signature: b=" + b"A" * 16_000, b"\xff" * 16_000, b"x" * 16_000 + b":\r\n"):
        octets = made(header=header)
        assert len(octets) < MAX_FAILURE_REPORT
        assert read(octets).kind == "auth-failure"
        assert all(len(line) <= 998 for line in octets.split(b"\r\n"))


def test_a_bounce_has_no_sender() -> None:
    """RFC 6591 section 3.1: the null reverse-path is told as it is."""
    assert read(made(reverse_path=None)).get("Original-Mail-From") == "<>"
    assert read(made(envelope_id="")).get("Original-Envelope-Id") == ""
