"""The message that carries an aggregate report (RFC 9990 section 3.5): gzip, named as the RFC asks, in a multipart that people can open.

It goes out with the null reverse-path, so that a mailbox for reports that is full or gone bounces nothing at us, and says that no program
should answer it (RFC 3834). With the null reverse-path, SPF vouches for this server's own name, which is what From has by default.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from email.utils import formatdate

from upesi.mail.address import Address
from upesi.mail.ids import MessageId
from upesi.mail.reply import printable
from upesi.reports.aggregate import AggregateReport, aggregate_xml

__all__ = ["MAX_REPORT", "report_id", "report_mail", "report_message_id", "report_name", "zipped"]

# Octets of the zipped document: MAX_ROWS of the longest rows come to a fifth of it
MAX_REPORT = 1024 * 1024
# RFC 2045 section 6.8
_BASE64_LINE = 76


def report_id(domain: str, day: int, hostname: str) -> str:
    """Return the id of a report: the same for the same day, so that one that came twice is known for it (RFC 9990 section 3.5.1)."""
    return hashlib.sha256(f"{domain} {day} {hostname}".encode()).hexdigest()[:32]


def report_message_id(report: str, to: Address, begins: int) -> MessageId:
    """Return the id under which a report to one address is queued: the same again after a crash, and so never queued twice."""
    digest = hashlib.sha256(f"{report} {to}".encode()).digest()
    return MessageId((begins * 1000).to_bytes(6, "big") + digest[:10])


def report_name(report: AggregateReport, hostname: str) -> str:
    """Return the name of the file (RFC 9990 section 3.5.2): receiver ! policy-domain ! begin ! end ! unique-id . xml.gz"""
    return f"{hostname}!{report.published.domain}!{report.begins}!{report.ends}!{report.id}.xml.gz"


def zipped(report: AggregateReport) -> bytes:
    """Return the document, zipped; the same octets for the same report."""
    return gzip.compress(aggregate_xml(report), mtime=0)


def report_mail(
    report: AggregateReport, document: bytes, to: Address, id: MessageId, sender: Address, hostname: str, now: float
) -> bytes:
    """Return the whole message to one address."""
    name = report_name(report, hostname)
    boundary = f"=_{id.hex()}"
    text = (
        f"This is a DMARC aggregate report (RFC 9990) by {report.organization} about mail that had {report.published.domain}\r\n"
        f"in its From field, from {formatdate(report.begins)} to {formatdate(report.ends)}.\r\n"
        f"You get it because the record at _dmarc.{report.published.domain} asks for it.\r\n"
    )
    encoded = base64.b64encode(document)
    lines = b"\r\n".join(encoded[at : at + _BASE64_LINE] for at in range(0, len(encoded), _BASE64_LINE))
    return (
        _header(report, to, id, sender, hostname, now).encode()
        + f'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="{boundary}"\r\n\r\n'.encode()
        + f"--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n{_ascii(text)}".encode()
        + f"--{boundary}\r\nContent-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n".encode()
        + f'Content-Disposition: attachment;\r\n filename="{name}"\r\n\r\n'.encode()
        + lines
        + f"\r\n--{boundary}--\r\n".encode()
    )


def _header(report: AggregateReport, to: Address, id: MessageId, sender: Address, hostname: str, now: float) -> str:
    fields = (
        ("Date", formatdate(now)),
        ("From", f"<{sender}>"),
        ("To", f"<{to}>"),
        # RFC 9990 section 3.5.2, dmarc-subject. Not folded: programs look for it, and with two domains it still fits into a line
        ("Subject", f"Report Domain: {report.published.domain} Submitter: {hostname} Report-ID: <{report.id}>"),
        ("Message-ID", f"<{id.hex()}@{hostname}>"),
        ("Auto-Submitted", "auto-generated"),
    )
    return "".join(f"{name}: {printable(value)}\r\n" for name, value in fields)


def _ascii(text: str) -> str:
    return "\r\n".join(printable(line) for line in text.split("\r\n")).encode("ascii", "replace").decode()
