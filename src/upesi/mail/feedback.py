"""Reading reports in the Abuse Reporting Format (RFC 5965): complaints of other providers' users, failure reports (RFC 6591, RFC 9991).

    multipart/report; report-type=feedback-report
        text/plain                                  words for people: not looked at
        message/feedback-report                     fields
        message/rfc822 or text/rfc822-headers       what is reported

A report reads whole or is refused: one of three parts missing, a field twice that may stand there once, a line that is no field. All of it
is a stranger's claim. Who makes a decision of it first finds out who sent it (DKIM), and never answers to an address in it.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

import msgspec

from upesi.mail.body import Body
from upesi.mail.dates import moment_of
from upesi.mail.headers import MAX_HEADER, Headers
from upesi.mail.mime import Part
from upesi.mail.mime_scan import scan
from upesi.mail.parameters import without_comments
from upesi.mail.reply import printable

__all__ = ["MAX_FEEDBACK", "MAX_FEEDBACK_FIELDS", "FeedbackError", "FeedbackReport", "read_feedback"]

# octets of the part with the fields, and fields in it: honest ones have twenty in 2 kB, and a hundred Original-Rcpt-To at the worst
MAX_FEEDBACK = 64 * 1024
MAX_FEEDBACK_FIELDS = 200
# characters of one value
_MAX_VALUE = 8192

_REPORTED = ("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers")
_KIND = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62}[A-Za-z0-9])?")
# RFC 5965 section 3.1 has "1"; its drafts had "0.1", which large providers still write
_VERSION = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4})?")
_NUMBER = re.compile(r"[0-9]{1,10}")
# RFC 5965 sections 3.1 and 3.2, RFC 6591 section 3.2, RFC 6692, RFC 9991 section 4
_ONCE = frozenset((
    "feedback-type", "user-agent", "version", "original-envelope-id", "original-mail-from", "arrival-date", "reporting-mta",
    "source-ip", "source-port", "incidents", "auth-failure", "delivery-result", "identity-alignment",
    "dkim-domain", "dkim-identity", "dkim-selector", "dkim-adsp-dns", "dkim-canonicalized-header", "dkim-canonicalized-body",
))  # fmt: skip


class FeedbackError(ValueError):
    """A message that is no feedback report. The text says what is missing, and has nothing of the message in it."""


class FeedbackReport(msgspec.Struct, frozen=True):
    """One report. `kind` is its Feedback-Type in lower case: "abuse", "auth-failure", "not-spam", or whatever else they agree on.

    `fields` are all of it, in their order, each value on one line. `reported` is the header section of the message that it is about, and
    `whole` says whether that came with its body.
    """

    kind: str
    user_agent: str
    version: str
    fields: tuple[tuple[str, str], ...]
    reported: Headers
    whole: bool

    def get(self, name: str) -> str:
        """Return the value of the first field of this name, "" where there is none."""
        return next(iter(self.all(name)), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Return the values of all fields of this name: there may be several of Reported-Domain, Original-Rcpt-To, Reported-URI."""
        name = name.lower()
        return tuple(value for each, value in self.fields if each.lower() == name)

    @property
    def source(self) -> str:
        """The address of the client that sent the message, "" where none is said."""
        text = without_comments(self.get("Source-IP")).strip()
        try:
            return str(ip_address(text[5:] if text[:5].lower() == "ipv6:" else text))
        except ValueError:
            return ""

    @property
    def arrived(self) -> float | None:
        """When the message came, in Unix seconds; None where it is not said."""
        return moment_of(self.get("Arrival-Date"))

    @property
    def incidents(self) -> int:
        """How many messages this is about (RFC 5965 section 3.2)."""
        text = without_comments(self.get("Incidents")).strip()
        return max(int(text), 1) if _NUMBER.fullmatch(text) else 1

    @property
    def unaligned(self) -> tuple[str, ...]:
        """Which of "dkim" and "spf" authenticated nobody who is aligned (RFC 9991 section 4)."""
        words = without_comments(self.get("Identity-Alignment")).lower().split(",")
        return tuple(word.strip() for word in words if word.strip() in ("dkim", "spf"))


def read_feedback(body: Body) -> FeedbackReport:
    """Read a message as a feedback report; raise FeedbackError. What it says must be believed by nobody before its sender is."""
    root = scan(body).root
    if (
        root.content_type != "multipart/report"
        or root.type.parameters.get("report-type", "").lower() != "feedback-report"
    ):
        raise FeedbackError("it is no multipart/report with report-type=feedback-report")
    if len(root.parts) != 3:
        raise FeedbackError("a feedback report has three parts")
    _, said, reported = root.parts
    if said.content_type != "message/feedback-report":
        raise FeedbackError("the second part is no message/feedback-report")
    if reported.content_type not in _REPORTED:
        raise FeedbackError("the third part is neither a message nor the header of one")
    return _report(_fields(said), reported)


def _fields(part: Part) -> tuple[tuple[str, str], ...]:
    if part.size > MAX_FEEDBACK:
        raise FeedbackError("the part with the fields is too long")
    octets = part.content(MAX_FEEDBACK)
    # the last line end may be the delimiter's (RFC 2046 section 5.1.1), and often is
    headers = Headers(octets if octets.endswith(b"\r\n") else octets + b"\r\n")
    if headers.bottom != headers.size:
        raise FeedbackError("a line of the report is no field")
    fields: list[tuple[str, str]] = []
    for name, value in headers.fields():
        if len(fields) == MAX_FEEDBACK_FIELDS or len(value) > _MAX_VALUE:
            raise FeedbackError("it has too many fields, or one that is too long")
        fields.append((name, printable(value, _MAX_VALUE)))
    return tuple(fields)


def _report(fields: tuple[tuple[str, str], ...], reported: Part) -> FeedbackReport:
    single: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        if name in _ONCE and name in single:
            raise FeedbackError(f"it has {name} twice")
        single.setdefault(name, without_comments(value).strip())
    kind, agent, version = (single.get(name, "") for name in ("feedback-type", "user-agent", "version"))
    if not _KIND.fullmatch(kind) or not agent or not _VERSION.fullmatch(version):
        raise FeedbackError("it has no valid Feedback-Type, User-Agent or Version")
    if kind.lower() == "auth-failure" and not _KIND.fullmatch(single.get("auth-failure", "")):
        raise FeedbackError("it does not say which authentication failed")
    whole = reported.content_type in _REPORTED[:2]
    return FeedbackReport(kind.lower(), agent, version, fields, Headers(reported.content(MAX_HEADER)), whole)
