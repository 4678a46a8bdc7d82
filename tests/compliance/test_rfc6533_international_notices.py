"""RFC 6533: notices about addresses in UTF-8. Each docstring names the clause."""

from __future__ import annotations

import re

import pytest

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Action, Outcome, OutcomeKind
from upesi.mail.route import MxRoute
from upesi.protocol.smtp.xtext import encode_unicode
from upesi.reports.dsn import DsnReporter
from upesi.spool.records import DeliveryState, NewMessage, StoredMessage

FAILED = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "keine solche Größe", "mx.example")


def reported(
    to: str,
    *,
    smtputf8: bool,
    sender: str = "a@s.example",
    original: str | None = None,
    head: str = "Subject: x",
    ret: ReturnContent | None = None,
    outcome: Outcome = FAILED,
    notify: int | None = None,
) -> tuple[NewMessage, str]:
    """Return the notice about one recipient, and its text."""
    message = StoredMessage(
        MessageId(bytes(16)), 0.0, Address.parse(sender, utf8=True),
        Transmission(BodyType.EIGHT_BIT, smtputf8=smtputf8, ret=ret), b"", MemoryBody(f"{head}\r\n\r\ntext\r\n".encode()), {}, {},
    )  # fmt: skip
    reporter = DsnReporter(
        "mx.example.org", lambda route: ("q", DeliveryState.READY), lambda address: MxRoute(address.domain), 3600.0
    )
    who = ((Recipient(Address.parse(to, utf8=True), original, notify), outcome),)
    tell = reporter.failed if outcome.kind is OutcomeKind.FAILED else reporter.succeeded
    notice = tell(message, who, MessageId(bytes(range(16))), 1.0)
    assert notice is not None
    return notice, notice.body.read(0, notice.body.size).decode()


def test_a_sender_who_speaks_smtputf8_reads_addresses_as_they_are() -> None:
    """C61, section 3: message/global-delivery-status, address type utf-8, the address itself."""
    notice, text = reported("jürgen@r.example", smtputf8=True, original="utf-8;müller@o.example")
    assert notice.transmission.smtputf8
    assert notice.transmission.body is BodyType.EIGHT_BIT
    assert "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n" in text
    assert "Original-Recipient: utf-8; müller@o.example\r\n" in text
    assert "Final-Recipient: utf-8; jürgen@r.example\r\n" in text
    assert "Diagnostic-Code: smtp; 550 5.1.1 keine solche Größe\r\n" in text


def test_a_sender_who_does_not_reads_ascii() -> None:
    """C61, section 3: elsewhere the address is a utf-8-addr-xtext in a message/delivery-status, which is ASCII to its end."""
    notice, text = reported("jürgen+1@r.example", smtputf8=False, original="utf-8;müller@o.example")
    assert not notice.transmission.smtputf8
    (status,) = re.findall(r"Content-Type: message/delivery-status\r\n\r\n(.*?)\r\n--", text, re.DOTALL)
    assert status.isascii()
    assert r"Original-Recipient: utf-8; m\x{FC}ller@o.example" in status
    assert r"Final-Recipient: utf-8; j\x{FC}rgen\x{2B}1@r.example" in status
    assert "Diagnostic-Code: smtp; 550 5.1.1 keine solche Gr??e\r\n" in status


def test_ascii_addresses_need_no_new_type() -> None:
    """C61, section 3: a message/delivery-status and type rfc822 for whoever has an ASCII address, though the sender speaks SMTPUTF8."""
    _, text = reported("b@r.example", smtputf8=True)
    assert "Content-Type: message/delivery-status" in text
    assert "Final-Recipient: rfc822; b@r.example\r\n" in text


@pytest.mark.parametrize(
    ("smtputf8", "ret", "head", "kind"),
    [
        (True, None, "Subject: größe", "message/global-headers"), (True, None, "Subject: x", "text/rfc822-headers"),
        (True, ReturnContent.FULL, "Subject: größe", "message/global"), (False, ReturnContent.FULL, "Subject: x", "message/rfc822"),
        (False, None, "Subject: größe", "text/rfc822-headers"),
    ],
)  # fmt: skip
def test_what_comes_back_has_its_type(smtputf8: bool, ret: ReturnContent | None, head: str, kind: str) -> None:
    """C61, section 5: message/global-headers and message/global give back what is in UTF-8."""
    _, text = reported("b@r.example", smtputf8=smtputf8, ret=ret, head=head)
    assert f"\r\nContent-Type: {kind}\r\n" in text
    assert head in text


def test_a_sender_in_utf8_is_one_who_speaks_it() -> None:
    """C61, section 4: the notice itself needs SMTPUTF8 where the sender's address does."""
    notice, text = reported("jürgen@r.example", smtputf8=False, sender="käthe@s.example")
    assert notice.transmission.smtputf8
    assert "\r\nTo: <käthe@s.example>\r\n" in text
    assert "Final-Recipient: utf-8; jürgen@r.example\r\n" in text


def test_success_is_told_in_the_same_forms() -> None:
    """C61: the forms are those of every notice, not of failures."""
    delivered = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "delivered to the mailbox", action=Action.DELIVERED)
    _, text = reported("jürgen@r.example", smtputf8=True, outcome=delivered, notify=int(Notify.SUCCESS))
    assert "Final-Recipient: utf-8; jürgen@r.example\r\nAction: delivered\r\nStatus: 2.0.0\r\n" in text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a@b", "a@b"),
        ("ü", r"\x{FC}"),
        ("a+b=c\\d", r"a\x{2B}b\x{3D}c\x{5C}d"),
        ("€😀", r"\x{20AC}\x{1F600}"),
        ("a b", r"a\x{20}b"),
    ],
)
def test_embedded_characters(text: str, written: str) -> None:
    """C61, section 3: "\\x{" HEXPOINT "}" for all that is no QCHAR, in two to six upper-case digits."""
    assert encode_unicode(text) == written
