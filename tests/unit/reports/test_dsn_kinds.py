"""Notices of delay and success: what they say, and to whom they go."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime

import pytest

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.route import MxRoute
from upesi.mail.timing import ByMode, DeliverBy
from upesi.reports.dsn import DsnReporter
from upesi.spool.records import DeliveryState, NewMessage, StoredMessage

NOW = 1_700_000_000.0
UNTIL = NOW + 432_000.0
REPORT = MessageId(bytes(range(16)))
DEFERRED = Outcome(OutcomeKind.DEFERRED, 451, "4.2.1", "mailbox busy", "mx.example [192.0.2.1]")
RELAYED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "Ok: queued as 1", "mx.example [192.0.2.1]", Action.RELAYED)
IN_MAILBOX = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "delivered to the mailbox", action=Action.DELIVERED)


def reporter() -> DsnReporter:
    return DsnReporter(
        "mx.example.org", lambda route: ("q", DeliveryState.READY), lambda address: MxRoute(address.domain), 3600.0
    )


SENDER = Address("a", "s.example")


def message(sender: Address | None = SENDER, **transmission: object) -> StoredMessage:
    options = Transmission(**transmission)  # type: ignore[arg-type]
    return StoredMessage(
        REPORT, NOW - 7200, sender, options, b"", MemoryBody(b"Subject: x\r\n\r\nthe text\r\n"), {}, {}
    )


def rcpt(notify: int | None = None, local: str = "b") -> Recipient:
    return Recipient(Address(local, "r.example"), None, notify)


def delayed(notify: int | None = None, about: StoredMessage | None = None) -> NewMessage | None:
    return reporter().delayed(about or message(), ((rcpt(notify), DEFERRED),), REPORT, NOW, UNTIL)


def succeeded(*outcomes: Outcome, notify: int | None = int(Notify.SUCCESS)) -> NewMessage | None:
    told = tuple((rcpt(notify, f"b{n}"), outcome) for n, outcome in enumerate(outcomes))
    return reporter().succeeded(message(ret=ReturnContent.FULL), told, REPORT, NOW)


def read(new: NewMessage | None) -> tuple[EmailMessage, str, list[EmailMessage]]:
    """Return the notice, its text, and the blocks of its second part."""
    assert new is not None
    found = email.message_from_bytes(new.body.read(0, new.body.size), policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    text, status, _ = found.iter_parts()
    return found, text.get_content(), list(status.iter_parts())  # type: ignore[attr-defined,arg-type]


def test_a_notice_of_delay_says_until_when_it_is_tried() -> None:
    """Action delayed, the temporary status, Will-Retry-Until (RFC 3464 sections 2.3.3 and 2.3.9)."""
    found, text, (about, one) = read(delayed())
    assert found["Subject"] == "Delayed mail (still being tried)"
    assert "You need not send it again" in text
    assert "451 mailbox busy" in text
    assert about["Reporting-MTA"] == "dns; mx.example.org"
    assert one["Action"] == "delayed"
    assert one["Status"] == "4.2.1"
    assert parsedate_to_datetime(one["Will-Retry-Until"]).timestamp() == UNTIL
    assert one["Remote-MTA"] == "dns; mx.example ([192.0.2.1])"


@pytest.mark.parametrize(
    ("notify", "wanted"),
    [
        (None, True),
        (Notify.DELAY, True),
        (Notify.DELAY | Notify.SUCCESS, True),
        (Notify.NEVER, False),
        (Notify.FAILURE, False),
    ],
)
def test_delay_is_told_by_notify(notify: int | None, wanted: bool) -> None:
    """C57: no notice of delay without DELAY where NOTIFY was given (RFC 3461 section 5.2.5)."""
    assert (delayed(notify) is not None) is wanted


@pytest.mark.parametrize("notify", [None, Notify.NEVER, Notify.FAILURE, Notify.FAILURE | Notify.DELAY])
def test_success_is_told_only_to_who_asked(notify: int | None) -> None:
    """RFC 3461 section 5.2.3 (b) and (c): without SUCCESS no notice of it."""
    assert succeeded(RELAYED, notify=notify) is None


def test_success_says_how_far_the_mail_has_come() -> None:
    """Each recipient has its own action: relayed or delivered (RFC 3464 section 2.3.3)."""
    found, text, (_, first, second) = read(succeeded(RELAYED, IN_MAILBOX))
    assert found["Subject"] == "Mail delivery report"
    assert [first["Action"], second["Action"]] == ["relayed", "delivered"]
    assert first["Diagnostic-Code"] == "smtp; 250 2.0.0 Ok: queued as 1"
    assert second["Diagnostic-Code"] is None
    assert first["Will-Retry-Until"] is None
    assert "delivered to the mailbox" in text
    assert "you will hear no more" in text.replace("\n", " ").replace("    ", "")


@pytest.mark.parametrize("ret", [None, ReturnContent.FULL, ReturnContent.HEADERS])
def test_without_a_failure_only_the_header_comes_back(ret: ReturnContent | None) -> None:
    """RET=FULL is for failures (RFC 3461 section 6.2)."""
    for new in (delayed(about=message(ret=ret)), succeeded(RELAYED)):
        assert new is not None
        octets = new.body.read(0, new.body.size)
        assert b"Subject: x\r\n" in octets
        assert b"the text" not in octets


def test_nobody_is_told_of_a_notice() -> None:
    """DSN-02, C60: mail from the null reverse-path has nobody to tell, whatever NOTIFY says; a notice itself asks for none."""
    assert delayed(int(Notify.DELAY), message(None)) is None
    assert reporter().succeeded(message(None), ((rcpt(int(Notify.SUCCESS)), RELAYED),), REPORT, NOW) is None
    new = delayed()
    assert new is not None
    assert new.reverse_path is None
    assert new.transmission.ret is None
    assert [recipient.notify for recipient in new.deliveries[0].recipients] == [Notify.NEVER]


def test_the_time_that_the_sender_set_is_named() -> None:
    """Deliver-By-Date (RFC 2852 section 5)."""
    by = DeliverBy(NOW - 60, ByMode.NOTIFY)
    _, _, (about, _) = read(delayed(about=message(by=by)))
    assert parsedate_to_datetime(about["Deliver-By-Date"]).timestamp() == by.at


def test_a_guessed_boundary_ends_nothing() -> None:
    """A message that holds the boundary of its own notice stays inside its part (RFC 2046 section 5.1.1)."""
    body = f"Subject: x\r\n\r\n--=_{REPORT.hex()}\r\nContent-Type: text/html\r\n\r\nevil\r\n--=_{REPORT.hex()}--\r\n".encode()
    about = StoredMessage(
        REPORT, NOW, Address("a", "s.example"), Transmission(ret=ReturnContent.FULL), b"", MemoryBody(body), {}, {}
    )
    failed = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "no", "mx")
    found, _, _ = read(reporter().failed(about, ((rcpt(), failed),), REPORT, NOW))
    parts = [part.get_content_type() for part in found.iter_parts()]
    assert parts == ["text/plain", "message/delivery-status", "message/rfc822"]
