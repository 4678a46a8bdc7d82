"""Failure notices, read back with the standard library's parser."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage

import pytest

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.route import MxRoute, Route
from upesi.reports.dsn import MAX_HEADER, DsnReporter
from upesi.spool.records import DeliveryState, NewDelivery, NewMessage, StoredMessage

NOW = 1_700_000_100.0
ID = MessageId(bytes(range(16)))
REPORT = MessageId(bytes(range(1, 17)))
FAILED = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "5.1.1 no such user here", "mx1.example.net [192.0.2.1]")
SENDER = Address("sender", "s.example")
BODY = b"From: a@s.example\r\nSubject: hello\r\n\r\nthe text\r\n"


def place(route: Route) -> tuple[str, DeliveryState]:
    assert isinstance(route, MxRoute)
    return f"domain:{route.domain}", DeliveryState.ROUTING


def reporter() -> DsnReporter:
    return DsnReporter("mail.example.org", place, lambda address: MxRoute(address.domain), 3600.0)


def message(
    body: bytes = BODY, reverse_path: Address | None = SENDER, prefix: bytes = b"", **transmission: object
) -> StoredMessage:
    options = Transmission(**transmission)  # type: ignore[arg-type]
    return StoredMessage(ID, NOW - 60, reverse_path, options, prefix, MemoryBody(body), {}, {})


def rcpt(address: str = "user@r.example", **options: object) -> Recipient:
    return Recipient(Address.parse(address, utf8=True), **options)  # type: ignore[arg-type]


def report(stored: StoredMessage | None = None, *failed: tuple[Recipient, Outcome]) -> NewMessage:
    new = reporter().failed(stored or message(), failed or ((rcpt(), FAILED),), REPORT, NOW)
    assert new is not None
    return new


def octets(new: NewMessage) -> bytes:
    return new.body.read(0, new.body.size)


def parsed(new: NewMessage) -> EmailMessage:
    found = email.message_from_bytes(octets(new), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    assert not found.defects
    return found


def parts(new: NewMessage) -> list[EmailMessage]:
    return list(parsed(new).iter_parts())  # type: ignore[arg-type]


def blocks(new: NewMessage) -> list[EmailMessage]:
    return list(parts(new)[1].iter_parts()) if parts(new)[1].is_multipart() else list(parts(new)[1].get_payload())  # type: ignore[arg-type]


def test_a_notice_is_a_multipart_report_with_three_parts() -> None:
    """multipart/report; report-type=delivery-status with text, delivery-status and the header (C58, RFC 6522 section 3)."""
    found = parsed(report())
    assert found.get_content_type() == "multipart/report"
    assert found.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in found.iter_parts()] == [
        "text/plain", "message/delivery-status", "text/rfc822-headers",
    ]  # fmt: skip


def test_a_notice_goes_to_the_reverse_path_from_the_null_one() -> None:
    """The sender of a notice is <>, and nothing answers it by itself (C60, RFC 3464 section 2, RFC 3834)."""
    new = report()
    found = parsed(new)
    assert new.reverse_path is None
    assert found["To"] == "sender@s.example"
    assert "MAILER-DAEMON@mail.example.org" in found["From"]
    assert found["Auto-Submitted"] == "auto-replied"
    assert found["Message-ID"] == f"<{REPORT.hex()}@mail.example.org>"
    assert found["Date"].datetime.timestamp() == NOW
    (delivery,) = new.deliveries
    assert delivery == NewDelivery(
        "domain:s.example", MxRoute("s.example"), (Recipient(SENDER, notify=Notify.NEVER),), NOW, NOW + 3600, DeliveryState.ROUTING
    )  # fmt: skip


def test_fields_name_the_recipient_and_what_the_receiver_said() -> None:
    """Reporting-MTA; Final-Recipient, Action, Status, and Remote-MTA and Diagnostic-Code where there was a receiver (C59)."""
    per_message, one = blocks(report(None, (rcpt(original="rfc822;alias@o.example"), FAILED)))
    assert per_message["Reporting-MTA"] == "dns; mail.example.org"
    assert per_message["Arrival-Date"] is not None
    assert one["Original-Recipient"] == "rfc822; alias@o.example"
    assert one["Final-Recipient"] == "rfc822; user@r.example"
    assert one["Action"] == "failed"
    assert one["Status"] == "5.1.1"
    assert one["Remote-MTA"] == "dns; mx1.example.net ([192.0.2.1])"
    assert one["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user here"
    assert one["Last-Attempt-Date"] is not None


def test_our_own_reasons_have_no_remote_fields() -> None:
    """Remote-MTA and Diagnostic-Code stand only where a receiver spoke (C59, RFC 3464 section 2.3.5)."""
    own = Outcome(OutcomeKind.FAILED, 0, "4.4.7", "delivery time expired")
    _, one = blocks(report(None, (rcpt(), own)))
    assert one["Remote-MTA"] is None
    assert one["Diagnostic-Code"] is None
    assert one["Status"] == "4.4.7"


def test_each_failed_recipient_has_its_block() -> None:
    """One group of fields per recipient (RFC 3464 section 2.3)."""
    failed = tuple((rcpt(f"u{n}@r.example"), FAILED) for n in range(60))
    new = report(None, *failed)
    assert len(blocks(new)) == 61
    assert "and 10 more" in parts(new)[0].get_content()


def test_the_envelope_id_comes_back() -> None:
    """ENVID becomes Original-Envelope-Id (RFC 3464 section 2.2.1)."""
    assert blocks(report(message(envid="QQ314159")))[0]["Original-Envelope-Id"] == "QQ314159"


@pytest.mark.parametrize(
    ("stored", "recipient"),
    [
        (message(reverse_path=None), rcpt()),
        (message(), rcpt(notify=int(Notify.NEVER))),
        (message(), rcpt(notify=int(Notify.SUCCESS | Notify.DELAY))),
    ],
)
def test_no_notice_where_none_may_be_sent(stored: StoredMessage, recipient: Recipient) -> None:
    """Never to <>, for NOTIFY=NEVER or without FAILURE (C57, C60, DSN-02)."""
    assert reporter().failed(stored, ((recipient, FAILED),), REPORT, NOW) is None


def test_only_those_who_want_it_are_named() -> None:
    """A recipient with NOTIFY=NEVER is left out of the others' notice (C57)."""
    new = report(None, (rcpt("a@r.example"), FAILED), (rcpt("b@r.example", notify=0), FAILED))
    assert b"a@r.example" in octets(new)
    assert b"b@r.example" not in octets(new)


def test_ret_full_gives_the_message_back() -> None:
    """RET=FULL returns the message as it was, with what we put in front (C58, RFC 3461 section 4.3)."""
    new = report(message(ret=ReturnContent.FULL, prefix=b"Received: by us\r\n"))
    assert [part.get_content_type() for part in parts(new)][2] == "message/rfc822"
    assert b"Received: by us\r\n" + BODY in octets(new)


@pytest.mark.parametrize("ret", [None, ReturnContent.HEADERS])
def test_else_only_the_header_comes_back(ret: ReturnContent | None) -> None:
    """RET=HDRS, and the default, return the header (C58)."""
    new = report(message(ret=ret))
    assert b"Subject: hello" in octets(new)
    assert b"the text" not in octets(new)


def test_a_large_message_is_not_sent_twice() -> None:
    """Beyond 50 kB RET=FULL returns the header (DSN-03)."""
    new = report(message(BODY + b"x" * 70 + b"\r\n" + b"line\r\n" * 10_000, ret=ReturnContent.FULL))
    assert new.body.size < 5_000
    assert b"Subject: hello" in octets(new)


def test_an_endless_header_is_cut_at_a_line() -> None:
    """A header without end is bounded (DSN-03)."""
    new = report(message(b"X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 10_000))
    assert new.body.size < MAX_HEADER + 5_000
    assert octets(new).count(b"X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n") == octets(new).count(b"X-Long")


def test_eight_bit_content_is_declared() -> None:
    """8-bit octets in what is returned make the notice 8BITMIME with the right encodings (DSN-03, RFC 2045 section 6.4)."""
    new = report(message("Subject: größe\r\n\r\ntext\r\n".encode("latin-1")))
    assert new.transmission.body is BodyType.EIGHT_BIT
    assert parsed(new)["Content-Transfer-Encoding"] == "8bit"
    assert parts(new)[2]["Content-Transfer-Encoding"] == "8bit"
    assert "größe".encode("latin-1") in octets(new)


def test_plain_content_is_seven_bit() -> None:
    """A notice of ASCII needs no extension."""
    assert report().transmission == Transmission(BodyType.SEVEN_BIT)
    assert octets(report()).isascii()


@pytest.mark.parametrize(
    "attack",
    [
        "x\r\nBcc: victim@v.example",
        "x\r\n\r\n--=_boundary",
        "x\nFinal-Recipient: rfc822; evil@e.example",
        "\0\x1b[2J\u202e",
    ],
)
def test_a_receivers_text_cannot_shape_the_notice(attack: str) -> None:
    """Remote text adds no field, line or part (CVE-2020-8794)."""
    bad = Outcome(OutcomeKind.FAILED, 550, "5.0.0", attack, attack)
    new = report(None, (rcpt(original=f"rfc822;{attack}"), bad))
    assert len(parts(new)) == 3
    assert len(blocks(new)) == 2
    assert parsed(new)["Bcc"] is None
    assert blocks(new)[1].get_all("Final-Recipient") == ["rfc822; user@r.example"]
    assert not set(octets(new).decode()) & set("\0\x1b\u202e")


def test_every_line_fits() -> None:
    """No line is longer than 998 octets, most have fewer than 79 (RFC 5322 section 2.1.1)."""
    long = Outcome(OutcomeKind.FAILED, 550, "5.7.1", "word " * 90 + "x" * 400, "mx")
    new = report(message(b"X: " + b"y" * 5000 + b"\r\nSubject: s\r\n\r\n"), (rcpt(), long))
    assert max(len(line) for line in octets(new).split(b"\r\n")) <= 998
    assert b"\n" not in octets(new).replace(b"\r\n", b"")
    assert "word word" in blocks(new)[1]["Diagnostic-Code"]


def test_internationalized_recipients_are_reported_in_utf8() -> None:
    """An address beyond ASCII makes a global report for who speaks SMTPUTF8 (C61, RFC 6533 section 3)."""
    new = report(message(smtputf8=True), (rcpt("jürgen@r.example"), FAILED))
    assert new.transmission.smtputf8
    assert b"message/global-delivery-status" in octets(new)
    assert "Final-Recipient: utf-8; jürgen@r.example".encode() in octets(new)


def test_a_refusal_after_the_data_is_reported_once_with_an_id_of_its_own() -> None:
    """The notice for recipients that were refused while accepting has an id that follows from the message's."""
    new = NewMessage(ID, NOW, SENDER, Transmission(), b"", MemoryBody(BODY), ())
    first, second = (reporter().accepting(new, ((rcpt(), FAILED),)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.id == second.id != ID
    assert first.id[:6] == ID[:6]
    assert len(first.id) == 16
    expanded = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "sent on", action=Action.EXPANDED)
    other = reporter().accepting(new, ((rcpt(notify=int(Notify.SUCCESS)), expanded),))
    assert other is not None
    assert other.id not in (first.id, ID)
    assert blocks(other)[1]["Action"] == "expanded"


def test_a_reverse_path_cannot_add_a_line_to_a_notice() -> None:
    """Line ends in a reverse-path that a plugin made do not begin a field of the notice (CVE-2020-8794)."""
    found = octets(report(message(reverse_path=Address("a\r\nX-Evil: 1\r\n\r\nb", "s.example"))))
    assert b"\r\nTo: <" in found
    assert b"\nX-Evil" not in found
    header = found.split(b"\r\n\r\n")[0]
    assert b"\r\nAuto-Submitted: " in header
