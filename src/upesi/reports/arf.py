"""A failure report of DMARC as a message: the Abuse Reporting Format (RFC 5965) with the fields of RFC 6591 and RFC 9991.

Three parts: words for people, fields for programs (message/feedback-report), and the message's header section, redacted
(text/rfc822-headers): never its body, no local part, no word of the Subject. So the Subject of the report is ours, and not the message's
behind "FW:" as RFC 5965 section 2 (f) would have it, and canonicalized headers and bodies (RFC 6591 section 3.2.4) are left out.

It goes out with the null reverse-path and says that no program should answer it; its From is at this server's own name, for which SPF
vouches then: what is aligned itself makes nobody report on it (RFC 9991 section 5.1).
"""

from __future__ import annotations

import contextlib
from email.utils import formatdate

import msgspec

from upesi.mail.address import Address
from upesi.mail.headers import header_field
from upesi.mail.ids import MessageId
from upesi.mail.reply import printable
from upesi.mailauth.authres import authentication_results
from upesi.mailauth.failure import FailedIdentities, Failure
from upesi.mailauth.results import MethodResult
from upesi.reports.arf_redaction import Redactor
from upesi.reports.multipart import boundary_of, joined

__all__ = ["MAX_FAILURE_REPORT", "FailureReport", "failure_report"]

# Octets of a report: 16 kB of header become at the most three times as much, where every line is a field of nothing
MAX_FAILURE_REPORT = 64 * 1024

# characters of one field
_MAX_VALUE = 4096
_AGENT = "Upesi"
# of whom Authentication-Results says something: who has logged in here, and what lists say of a client, is not the domain's business
_METHODS = frozenset(("spf", "dkim", "dmarc", "arc"))
# values that a domain owner needs, as they are; those that may be addresses are redacted
_PLAIN = frozenset(("header.d", "header.s", "header.a", "header.b", "header.from", "policy.dmarc"))
_ADDRESSES = frozenset(("smtp.mailfrom", "smtp.helo", "header.i"))


class FailureReport(msgspec.Struct, frozen=True):
    """One report. `incidents` is how many messages failed like this one since the last (RFC 5965 section 3.2), `now` Unix seconds."""

    failure: Failure
    identities: FailedIdentities
    sender: Address
    hostname: str
    incidents: int
    now: float


def failure_report(report: FailureReport, to: Address, id: MessageId, key: bytes) -> bytes:
    """Return the whole message to one address; `key` is the secret of redaction."""
    redactor = Redactor(key, report.failure.holder)
    parts = (
        ("text/plain; charset=us-ascii", _ascii("".join(f"{line}\r\n" for line in _words(report)))),
        ("message/feedback-report", _section(_feedback(report, redactor))),
        ("text/rfc822-headers", _section(redactor.fields(report.failure.header))),
    )
    boundary = boundary_of(id, parts)
    return _header(report, to, id, boundary) + joined(parts, boundary)


def _words(report: FailureReport) -> list[str]:
    failure = report.failure
    return [
        "This is a report (RFC 9991, RFC 6591) about an email message that came from",
        f"{printable(failure.source)} on {formatdate(failure.arrived)} with",
        f"{failure.author} in its From field, and was not authenticated in every way that",
        f"the record at _dmarc.{failure.holder} asks to be told of.",
        "",
        "Local parts of addresses and all content are redacted (RFC 6590).",
    ]


def _header(report: FailureReport, to: Address, id: MessageId, boundary: str) -> bytes:
    fields = (
        ("Date", formatdate(report.now)),
        ("From", f"<{report.sender}>"),
        ("To", f"<{to}>"),
        ("Subject", f"DMARC failure report for {report.failure.author}"),
        ("Message-ID", f"<{id.hex()}@{report.hostname}>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
    )
    lines = "".join(f"{name}: {printable(value)}\r\n" for name, value in fields)
    return _ascii(
        f'{lines}Content-Type: multipart/report; report-type=feedback-report;\r\n boundary="{boundary}"\r\n\r\n'
    )


def _feedback(report: FailureReport, redactor: Redactor) -> list[tuple[str, str]]:
    failure = report.failure
    sender = failure.reverse_path
    fields = [
        ("Feedback-Type", "auth-failure"),
        ("User-Agent", _AGENT),
        ("Version", "1"),
        ("Auth-Failure", failure.kind),
        ("Authentication-Results", authentication_results(report.hostname, _results(failure.results, redactor))),
        ("Identity-Alignment", _unaligned(failure)),
        ("Delivery-Result", failure.delivery),
        *_identities(report.identities, redactor),
        ("Original-Envelope-Id", redactor.mailbox(failure.envelope_id) if failure.envelope_id else ""),
        ("Original-Mail-From", "<>" if sender is None else f"<{redactor.address(sender)}>"),
        ("Arrival-Date", formatdate(failure.arrived)),
        ("Source-IP", failure.source),
        # RFC 6692: of many behind one address, who it was
        ("Source-Port", str(failure.port) if failure.port else ""),
        ("Reported-Domain", failure.author),
        ("Incidents", str(report.incidents) if report.incidents > 1 else ""),
    ]
    return [(name, value) for name, value in fields if value]


def _unaligned(failure: Failure) -> str:
    """Return the methods that authenticated nobody who is aligned, "none" where both did (RFC 9991 section 4)."""
    aligned = (("dkim", failure.dkim_aligned), ("spf", failure.spf_aligned))
    return ", ".join(method for method, holds in aligned if not holds) or "none"


def _identities(identities: FailedIdentities, redactor: Redactor) -> list[tuple[str, str]]:
    fields = []
    if (signature := identities.signature) is not None:
        domain = signature.said_of("header.d")
        fields += [
            ("DKIM-Domain", domain),
            # RFC 6376 section 3.5: what i= is where a signature has none
            ("DKIM-Identity", redactor.mailbox(signature.said_of("header.i") or f"@{domain}")),
            ("DKIM-Selector", signature.said_of("header.s")),
        ]
    if identities.spf_text:
        text = identities.spf_text.replace("\\", "\\\\").replace('"', '\\"')
        fields.append(("SPF-DNS", f'txt : {identities.spf_domain} : "{text}"'))
    return fields


def _results(results: tuple[MethodResult, ...], redactor: Redactor) -> list[MethodResult]:
    # a reason is text for people, and may quote anything
    return [
        MethodResult(each.method, each.result, "", tuple(_properties(each, redactor)))
        for each in results
        if each.method in _METHODS
    ]


def _properties(result: MethodResult, redactor: Redactor) -> list[tuple[str, str]]:
    found = [(name, value) for name, value in result.properties if name in _PLAIN]
    for name, value in result.properties:
        if name in _ADDRESSES and value:
            found.append((name, value if "@" not in value else redactor.mailbox(value)))
    return found


def _section(fields: list[tuple[str, str]]) -> bytes:
    """Return fields as lines, and the line end that belongs to the delimiter behind; a field that no line can hold is left out."""
    found = bytearray()
    for name, value in fields:
        with contextlib.suppress(ValueError):
            found += header_field(name, _ascii(printable(value, _MAX_VALUE)).decode())
    return bytes(found + b"\r\n")


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")
