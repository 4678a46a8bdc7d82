"""The checks of the header section and of the structure."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from upesi.plugins.headers.plugin import HeaderChecks
from upesi.testkit import FakeClock, Trial

# 2026-11-22 10:16:17 UTC, a Sunday
_NOW = 1795342577.0
_WHOLE = (
    b"Received: from a.example by b.example; Sun, 22 Nov 2026 10:00:00 +0000\r\n"
    b"Date: Sun, 22 Nov 2026 09:00:00 +0000\r\nFrom: sender@example.com\r\nTo: recipient@example.org\r\n"
    b"Message-ID: <1@example.com>\r\nSubject: s\r\n\r\nbody\r\n"
)


async def judged(message: bytes, settings: Mapping[str, object] | None = None, **session: object) -> tuple[str, str]:
    """Return the reply ("" for none) and the evidence that the plugin left."""
    trial = Trial.of(HeaderChecks, settings, services={"node": "mx.example.net"}, clock=FakeClock(_NOW))
    for name, value in session.items():
        setattr(trial.session, name, value)
    trial.session.relaying = trial.session.relaying or bool(session.get("relaying"))
    await trial.mail()
    trial._relay = True
    await trial.rcpt()
    verdict = await trial.message(message)
    assert trial.events == []
    result, evidence = trial.tx.results["headers"]
    assert result == {"": "pass", "one of ours": "skip"}.get(evidence, "fail")
    return "" if verdict is None else str(verdict.reply), evidence


async def test_a_whole_message_passes():
    """RFC 5322 section 3.6: what every message has."""
    assert await judged(_WHOLE) == ("", "")


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        (b"From", "554 5.6.0 Message has no From field (RFC 5322 section 3.6)"),
        (b"Date", ""),
    ],
)
async def test_a_missing_field_is_found(name: bytes, reply: str):
    """RFC 5322 section 3.6: orig-date and from are required; without an author mail is refused."""
    message = _WHOLE.replace(b"\r\n" + name, b"\r\nX-Was", 1)
    said, evidence = await judged(message)
    assert said == reply
    assert name.decode() in evidence


@pytest.mark.parametrize("name", [b"From", b"Date", b"Subject", b"To", b"Message-ID", b"fRoM"])
async def test_a_field_that_is_there_twice_is_refused(name: bytes):
    """MSG-03: readers show one, checks look at the other."""
    said, evidence = await judged(_WHOLE.replace(b"\r\n\r\n", b"\r\n" + name + b" : second@example.com\r\n\r\n"))
    assert said.startswith("554 5.6.0 Message has several ")
    assert evidence.startswith("duplicate: ")


async def test_a_second_from_behind_what_looks_like_the_end_is_said():
    """MSG-18: an empty line to some readers, and a field twice to others."""
    message = _WHOLE.replace(b"\r\n\r\n", b"\r\n \r\nX-Other: y\r\nnot a field\r\n\r\n")
    said, evidence = await judged(message, {"malformed": "reject"})
    assert said == "554 5.6.0 Header section has lines that are no fields"
    assert "malformed: odd-line" in evidence
    assert "malformed: blank-continuation" in evidence


@pytest.mark.parametrize(
    ("date", "evidence"),
    [
        (b"Sun, 22 Nov 2026 09:00:00 +0000", ""),
        (b"22 Nov 26 09:00 GMT", ""),
        (b"Sun, 22 Nov 2026 09:00:60 (leap) -0000 (UTC)", ""),
        (b"Sun, 20 Sep 2026 09:00:00 +0000", "old"),
        (b"Sun, 29 Nov 2026 09:00:00 +0000", "future"),
        (b"Sun, 22 Nov 99999 09:00:00 +0000", "bad_date"),
        (b"Sun, 22 Nov " + b"9" * 100_000 + b" 09:00:00 +0000", "bad_date"),
        (b"-1", "bad_date"),
        (b"", "bad_date"),
        (b"Sun, 31 Feb 2026 09:00:00 +0000", "bad_date"),
        (b"Sun, 22 Nov 2026 25:00:00 +0000", "bad_date"),
        (b"Sun, 22 Nov 2026 09:00:00 +9999", "bad_date"),
    ],
)
async def test_dates_are_read_and_compared(date: bytes, evidence: str):
    """MSG-10: dates that are none, long gone or to come; the length is bounded."""
    assert await judged(_WHOLE.replace(b"Sun, 22 Nov 2026 09:00:00 +0000", date)) == ("", evidence)


@pytest.mark.parametrize(
    "id", [b"<" * 100_000, b"<a b@example.com>", b"none", b"<@>", b"<a@b> <c@d>", b"<" + b"a" * 501 + b"@b>"]
)
async def test_message_ids_that_are_none_are_found(id: bytes):
    """MSG-10: an id of any length and with anything in it; what it was stands in no log."""
    _, evidence = await judged(_WHOLE.replace(b"<1@example.com>", id))
    assert evidence == "bad_message_id"


@pytest.mark.parametrize(
    ("message", "evidence"),
    [
        (_WHOLE.replace(b"Subject: s", b"Subject: \xc3\xa4"), "eight_bit"),
        (_WHOLE.replace(b"Received", b"X-Was"), "direct"),
        (_WHOLE.replace(b"Received", b"Delivered-To: Recipient@example.org\r\nReceived"), "delivered"),
        (
            _WHOLE.replace(b"Received", b"Received: from x by mx.example.net with SMTP; date\r\n" * 11 + b"Received", 1),
            "loop",
        ),
        (_WHOLE.replace(b"Received", b"Received: from x by xmx.example.net.y; date\r\n" * 11 + b"Received", 1), ""),
        (
            _WHOLE.replace(b"Subject: s\r\n", b"Content-Type: multipart/mixed; boundary=b\r\nSubject: s\r\n"),
            "ambiguous: no-delimiter",
        ),
        (
            _WHOLE.replace(b"Subject: s\r\n\r\n", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * 1200),
            "unscanned: too-many-parts",
        ),
    ],
)  # fmt: skip
async def test_what_else_is_wrong_is_found(message: bytes, evidence: str):
    """MSG-04, MSG-06, MSG-12: our own loop, a delivery before, parts that nobody looks at, octets that are no ASCII."""
    said, found = await judged(message)
    assert found == evidence
    assert said == ("554 5.4.6 Message is in a loop" if evidence == "loop" else "")
    if evidence:
        knob = evidence.partition(":")[0]
        assert (await judged(message, {knob: "off"}))[1] == ""
        assert (await judged(message, {knob: "defer"}))[0].startswith("4")


async def test_the_author_need_not_be_the_sender():
    """Lists and newsletters: only on demand."""
    message = _WHOLE.replace(b"From: sender@", b"From: other@")
    assert await judged(message) == ("", "")
    assert await judged(message, {"other_sender": "mark"}) == ("", "other_sender")


async def test_mail_of_our_own_people_is_checked_on_demand():
    """What submission completes is not complained of."""
    assert await judged(b"\r\nbody", identity="anna") == ("", "one of ours")
    assert await judged(b"\r\nbody", relaying=True) == ("", "one of ours")
    assert (await judged(b"\r\nbody", {"mail": "all"}, identity="anna"))[0].startswith("554")


async def test_the_worst_action_answers():
    """A fault that rejects goes before one that defers, wherever it stands."""
    said, evidence = await judged(b"\r\nbody", {"missing": "defer", "direct": "reject"})
    assert said == "554 5.7.1 Message comes from no mail server"
    assert evidence == "missing: From, incomplete: Date, direct"
