"""Reports of others in the Abuse Reporting Format: what reads, what is refused, and that no cut changes it."""

from __future__ import annotations

import pytest

from upesi.mail.body import MemoryBody
from upesi.mail.feedback import MAX_FEEDBACK, MAX_FEEDBACK_FIELDS, FeedbackError, read_feedback

ABUSE = "Feedback-Type: abuse\r\nUser-Agent: SomeGenerator/1.0\r\nVersion: 1\r\n"
AUTH = "Feedback-Type: auth-failure\r\nUser-Agent: Other/2\r\nVersion: 0.1\r\nAuth-Failure: dmarc\r\n"
REPORTED = "From: <somespammer@example.net>\r\nSubject: Earn money\r\n"
PLAIN = "Content-Type: text/plain\r\n\r\nThis is an abuse report.\r\n"


def report(
    fields: str = ABUSE,
    *,
    top: str = "multipart/report; report-type=feedback-report",
    first: str = PLAIN,
    second: str = "message/feedback-report",
    third: str = "text/rfc822-headers",
    reported: str = REPORTED,
    more: str = "",
) -> MemoryBody:
    parts = (first, f"Content-Type: {second}\r\n\r\n{fields}", f"Content-Type: {third}\r\n\r\n{reported}")
    inside = "".join(f"--b\r\n{part}\r\n" for part in parts)
    return MemoryBody(
        f'From: <fbl@example.com>\r\nContent-Type: {top}; boundary="b"\r\n\r\n{inside}{more}--b--\r\n'.encode()
    )


@pytest.mark.parametrize(
    ("fields", "kind", "source", "arrived", "incidents", "unaligned"),
    [
        (ABUSE, "abuse", "", None, 1, ()),
        (f"{ABUSE}Source-IP: 192.0.2.1\r\nIncidents: 12\r\n", "abuse", "192.0.2.1", None, 12, ()),
        (f"{ABUSE}Source-IP: (v6) IPv6:2001:DB8::1\r\n", "abuse", "2001:db8::1", None, 1, ()),
        (f"{ABUSE}Source-IP: somewhere\r\nIncidents: many\r\n", "abuse", "", None, 1, ()),
        (f"{ABUSE}Arrival-Date: Thu, 8 Mar 2005 14:00:00 -0400\r\n", "abuse", "", 1110304800.0, 1, ()),
        (f"{ABUSE}Arrival-Date: yesterday\r\n", "abuse", "", None, 1, ()),
        (ABUSE.replace("abuse", "Not-Spam"), "not-spam", "", None, 1, ()),
        (ABUSE.replace("abuse", "x-own (what we mean)"), "x-own", "", None, 1, ()),
        (f"{ABUSE}X-Later: what this reader does not know\r\n", "abuse", "", None, 1, ()),
        (AUTH, "auth-failure", "", None, 1, ()),
        (f"{AUTH}Identity-Alignment: none\r\n", "auth-failure", "", None, 1, ()),
        (f"{AUTH}Identity-Alignment:\r\n dkim (why),\r\n SPF\r\n", "auth-failure", "", None, 1, ("dkim", "spf")),
    ],
)  # fmt: skip
def test_what_is_reported_is_read(
    fields: str, kind: str, source: str, arrived: float | None, incidents: int, unaligned: tuple[str, ...]
) -> None:
    """C100: RFC 5965 section 3, RFC 6591 section 3, RFC 9991 section 4; unknown types and fields are no fault (section 3.4)."""
    found = read_feedback(report(fields))
    assert (found.kind, found.source, found.arrived, found.incidents, found.unaligned) == (
        kind, source, arrived, incidents, unaligned,
    )  # fmt: skip
    assert found.reported.get("Subject") == "Earn money"


def test_fields_that_may_stand_there_often_are_all_read() -> None:
    """C100: RFC 5965 section 3.3."""
    found = read_feedback(report(f"{ABUSE}Reported-Domain: a.example\r\nreported-domain: b.example\r\n"))
    assert found.all("Reported-Domain") == ("a.example", "b.example")
    assert (found.get("Reported-Domain"), found.get("Reported-URI")) == ("a.example", "")
    assert (found.user_agent, found.version) == ("SomeGenerator/1.0", "1")


def test_the_message_itself_may_be_there() -> None:
    """C100: RFC 5965 section 2 (e): the third part is the message or its header."""
    found = read_feedback(report(third="message/rfc822", reported=f"{REPORTED}\r\nbody\r\n"))
    assert found.whole
    assert [name for name, _ in found.reported.fields()] == ["From", "Subject"]
    assert not read_feedback(report()).whole


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (MemoryBody(b""), "no multipart/report"),
        (MemoryBody(b"Subject: x\r\n\r\nFeedback-Type: abuse\r\n"), "no multipart/report"),
        (report(top="multipart/report; report-type=delivery-status"), "no multipart/report"),
        (report(top="multipart/mixed; report-type=feedback-report"), "no multipart/report"),
        (report(more=f"--b\r\n{PLAIN}\r\n"), "three parts"),
        (report(second="text/plain"), "second part"),
        (report(third="text/html"), "third part"),
        (report(""), "no valid Feedback-Type"),
        (report(ABUSE.replace("Version: 1\r\n", "")), "no valid Feedback-Type"),
        (report(ABUSE.replace("Version: 1", "Version: one")), "no valid Feedback-Type"),
        (report(ABUSE.replace("User-Agent: SomeGenerator/1.0", "User-Agent: ")), "no valid Feedback-Type"),
        (report(ABUSE.replace("abuse", "two words")), "no valid Feedback-Type"),
        (report(f"{ABUSE}Feedback-Type: fraud\r\n"), "feedback-type twice"),
        (report(f"{ABUSE}Source-IP: 192.0.2.1\r\nsource-ip: 192.0.2.2\r\n"), "source-ip twice"),
        (report(AUTH.replace("Auth-Failure: dmarc\r\n", "")), "which authentication"),
        (report(f"{ABUSE}no field at all\r\n"), "no field"),
        (report(ABUSE + "Reported-URI: http://a.example\r\n" * MAX_FEEDBACK_FIELDS), "too many fields"),
        (report(f"{ABUSE}Reported-URI: {'x' * 9000}\r\n"), "too many fields"),
        (report(ABUSE + "X: y\r\n" * MAX_FEEDBACK), "too long"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_report_is_refused(message: MemoryBody, why: str) -> None:
    """C100, RPT-01: it reads whole or not at all, within its bounds."""
    with pytest.raises(FeedbackError, match=why):
        read_feedback(message)


class Cut:
    """A body that gives its octets in pieces of one size at the most."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._data = data
        self._piece = piece
        self.size = len(data)

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def chunks(self):  # type: ignore[no-untyped-def]
        for at in range(0, self.size, self._piece):
            yield self._data[at : at + self._piece]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 64, 1000])
def test_where_the_octets_are_cut_does_not_matter(piece: int) -> None:
    """C100: the same from a file as from memory."""
    whole = report(f"{AUTH}Identity-Alignment: dkim\r\n")
    one, other = read_feedback(whole), read_feedback(Cut(whole.data, piece))
    assert (one.kind, one.fields, one.reported.section) == (other.kind, other.fields, other.reported.section)
