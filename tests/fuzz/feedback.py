"""What is fuzzed of reports about single messages: those of others, and what ours say of a stranger's header."""

from __future__ import annotations

import re

from tests.fuzz.content import Filed

from upesi.mail.body import MemoryBody
from upesi.mail.feedback import MAX_FEEDBACK_FIELDS, FeedbackError, FeedbackReport, read_feedback
from upesi.mail.headers import header_field
from upesi.reports.arf_redaction import MAX_REDACTED_FIELDS, Redactor

__all__ = ["arf", "redaction"]

# a digest, or nothing: all that may stand in front of an "@"
_LOCAL = re.compile(r"(?:[a-z2-7]{16})?")
_BEHIND = re.compile(r"([^\s<>,;=]*)@")


def _read(body: MemoryBody | Filed) -> FeedbackReport | None:
    try:
        return read_feedback(body)
    except FeedbackError:
        return None


def arf(data: bytes) -> None:
    """A report reads or is refused, in memory and in pieces alike; what it says is bounded and printable."""
    report, again = _read(MemoryBody(data)), _read(Filed(data))
    assert (report is None) == (again is None)
    if report is None or again is None:
        return
    assert (report.kind, report.fields, report.reported.section) == (again.kind, again.fields, again.reported.section)
    assert 3 <= len(report.fields) <= MAX_FEEDBACK_FIELDS
    assert not any(set(value) & set("\r\n\0") for _, value in report.fields)
    assert report.incidents >= 1
    assert report.arrived is None or report.source is not None
    assert set(report.unaligned) <= {"dkim", "spf"}


def redaction(data: bytes) -> None:
    """A header section: whatever it is, what is told of it is fields of ASCII, in which nobody is named."""
    fields = Redactor(b"key", "bank.example").fields(data)
    assert len(fields) <= MAX_REDACTED_FIELDS
    for name, value in fields:
        assert value.isascii()
        assert value.isprintable()
        assert all(_LOCAL.fullmatch(local) for local in _BEHIND.findall(value)), value
        assert header_field(name, value).endswith(b"\r\n")
