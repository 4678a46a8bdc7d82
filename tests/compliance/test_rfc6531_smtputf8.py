"""RFC 6531 and RFC 6532: addresses and headers in UTF-8 (SMTPUTF8), on both sides. Each docstring names the clause."""

from __future__ import annotations

import msgspec
import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor
from tests.unit.session.sessionkit import Dialogue

from upesi.delivery.agents.preparing import UTF8_REFUSED, refusal, transmission_for
from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import OutcomeKind
from upesi.protocol.smtp.client import ClientConnection
from upesi.protocol.smtp.events import MailCommand, RcptCommand, VrfyCommand
from upesi.protocol.smtp.extensions import Extensions
from upesi.scheduler.work import Attempt
from upesi.spool.records import StoredMessage

PLAIN = msgspec.structs.replace(LIMITS, smtputf8=False)


def replies(*lines: str, acceptor: Acceptor | None = None) -> list[str]:
    acceptor = acceptor or Acceptor()
    acceptor.feed(b"EHLO c\r\n")
    return [acceptor.feed(line.encode() + b"\r\n")[:9].decode() for line in lines]


def test_the_extension_comes_with_eight_bit_content() -> None:
    """C87, section 3.1: SMTPUTF8 is announced without a parameter, and 8BITMIME with it."""
    assert {"SMTPUTF8", "8BITMIME"} <= set(LIMITS.ehlo_keywords())
    assert "SMTPUTF8" not in PLAIN.ehlo_keywords()


@pytest.mark.parametrize(
    "lines",
    [
        ("MAIL FROM:<jürgen@x.example>",), ("MAIL FROM:<a@bücher.example>",), ('MAIL FROM:<"jü rgen"@x.example> BODY=8BITMIME',),
        ("MAIL FROM:<a@x.example>", "RCPT TO:<用户@x.example>"), ("MAIL FROM:<a@x.example>", "RCPT TO:<a@例子.example>"),
        ("VRFY jürgen",), ("EXPN jürgen",),
    ],
)  # fmt: skip
def test_without_the_parameter_utf8_is_refused(lines: tuple[str, ...]) -> None:
    """C87, section 3.5: 553 5.6.7 to MAIL, RCPT and VRFY with characters beyond ASCII where SMTPUTF8 was not asked for."""
    assert replies(*lines)[-1] == "553 5.6.7"


def test_where_it_is_not_offered_the_parameter_is_unknown() -> None:
    """C87, section 3.1 (3): "If the SMTPUTF8 parameter is not understood" it is an unknown parameter: 555."""
    assert replies("MAIL FROM:<a@x.example> SMTPUTF8", acceptor=Acceptor(PLAIN)) == ["555 5.5.4"]
    assert replies("VRFY jürgen SMTPUTF8", acceptor=Acceptor(PLAIN)) == ["553 5.6.7"]


def test_with_the_parameter_utf8_is_taken() -> None:
    """C87, section 3.3: with SMTPUTF8, Mailbox and Domain may hold UTF-8 in MAIL and in each RCPT; VRFY says it for itself."""
    acceptor = Acceptor()
    lines = "MAIL FROM:<jürgen@x.example> SMTPUTF8", 'RCPT TO:<"用 户"@x.example>', "VRFY <jürgen@x.example> smtputf8"
    assert replies(*lines, acceptor=acceptor) == ["250 2.0.0", "250 2.0.0", "252 2.0.0"]
    sender, recipient, verified = acceptor.events[-3:]
    assert isinstance(sender, MailCommand)
    assert sender.reverse_path == Address("jürgen", "x.example")
    assert isinstance(recipient, RcptCommand)
    assert recipient.forward_path == Address("用 户", "x.example")
    assert verified == VrfyCommand("<jürgen@x.example>")


def test_local_parts_are_kept_as_they_are() -> None:
    """Section 3.3 and RFC 5321 section 2.3.11: nobody but the last host reads a local part: no case and no form is changed."""
    for local in ("É", "E\u0301", "ß", "İ", "ﬁ"):
        assert Address.parse(f"{local}@x.example", utf8=True).local == local


@pytest.mark.parametrize(
    ("u_label", "a_label"),
    [
        ("bücher.example", "xn--bcher-kva.example"), ("BÜCHER.Example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"), ("例子.测试", "xn--fsqu00a.xn--0zwm56d"),
        ("straße.example", "xn--strae-oqa.example"), ("STRAẞE.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"), ("strasse.example", "strasse.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_domains_are_kept_as_a_labels(u_label: str, a_label: str) -> None:
    """C88, sections 3.2 and 3.3: U-labels and A-labels are one domain (RFC 5890), and letters that IDNA 2008 keeps lead to no other's."""
    assert domain_from(u_label) == a_label


@pytest.mark.parametrize(
    "domain",
    [
        "a\u200db.example",
        "a\u200cb.example",
        "a。b",
        "a．b",
        "a\u00adb.example",
        "exam\u202eple",
        "ü" * 64 + ".example",
        "a@ü",
    ],
)
def test_domains_that_are_none_are_refused(domain: str) -> None:
    """ADR-13: joiners, other dots, invisible characters and over-long labels make no domain."""
    with pytest.raises(AddressError):
        domain_from(domain)


def attempt(
    *, sender: str = "a@x.example", to: str = "b@y.example", head: str = "Subject: x", smtputf8: bool = True
) -> Attempt:
    message = StoredMessage(
        MessageId(bytes(16)), 0.0, Address.parse(sender, utf8=True), Transmission(smtputf8=smtputf8), b"",
        MemoryBody(f"{head}\r\n\r\ntéxt\r\n".encode()), {}, {},
    )  # fmt: skip
    return Attempt(message, (Recipient(Address.parse(to, utf8=True)),), 1)


@pytest.mark.parametrize(
    "one", [attempt(sender="jürgen@x.example"), attempt(to="jürgen@y.example"), attempt(head="Subject: größe"),
            attempt(to="jürgen@y.example", smtputf8=False)],
)  # fmt: skip
def test_mail_that_needs_it_bounces_where_it_is_not_offered(one: Attempt) -> None:
    """C88, section 3.2: a message with an address or a header in UTF-8 is returned, 5.6.7, never sent to who cannot read it."""
    assert refusal(one, Extensions(eight_bit=True), True) is UTF8_REFUSED
    assert (UTF8_REFUSED.kind, UTF8_REFUSED.status) == (OutcomeKind.FAILED, "5.6.7")
    assert refusal(one, Extensions(eight_bit=True, smtputf8=True), True) is None
    assert transmission_for(one, Extensions(eight_bit=True, smtputf8=True), True).smtputf8


def test_mail_that_does_not_need_it_goes_without() -> None:
    """C88, section 3.2: the parameter alone, or a domain (it has an A-label), keeps no mail from an old server."""
    for one in (attempt(), attempt(sender="a@bücher.example", to="b@例子.example")):
        assert refusal(one, Extensions(eight_bit=True), True) is None
        assert not transmission_for(one, Extensions(eight_bit=True), True).smtputf8


def test_commands_of_ours_hold_a_labels_outside_the_transaction() -> None:
    """C88, section 3.2: EHLO, which comes before anybody knows what the server offers, says the A-label."""
    client = ClientConnection()
    client.receive(b"220 x\r\n")
    client.next_reply()
    assert client.ehlo(domain_from("bücher.example")) == b"EHLO xn--bcher-kva.example\r\n"


@pytest.mark.parametrize(
    ("greeting", "lmtp", "parameter", "keyword"),
    [
        ("EHLO", False, " SMTPUTF8", b"UTF8SMTP"),
        ("EHLO", False, "", b"ESMTP"),
        ("LHLO", True, " SMTPUTF8", b"UTF8LMTP"),
    ],
)
def test_the_trace_field_says_how_it_came(greeting: str, lmtp: bool, parameter: str, keyword: bytes) -> None:
    """C89, section 4.3: "with UTF8SMTP" and its kin where SMTPUTF8 was asked for, and the path as it was said."""
    talk = Dialogue(lmtp=lmtp)
    talk.heard()
    talk.codes(f"{greeting} client.example.org")
    talk.say(f"MAIL FROM:<a@example.org>{parameter}")
    talk.say("RCPT TO:<jürgen@example.net>" if parameter else "RCPT TO:<b@example.net>")
    talk.send()
    prefix = talk.intake.accepted[0].prefix
    assert b" with " + keyword + b" id " in prefix
    if parameter:
        assert "for <jürgen@example.net>;".encode() in prefix


def test_headers_in_utf8_come_with_smtputf8_only_into_fields_of_ours() -> None:
    """C89, RFC 6532: a field that we add holds characters beyond ASCII under SMTPUTF8 only; content is not changed."""

    def add(tx: object) -> None:
        tx.add_header("X-Note", "größe")  # type: ignore[attr-defined]

    for parameter, code in ((" SMTPUTF8", "250"), ("", "451")):
        talk = Dialogue(message=add)
        talk.hello()
        talk.say(f"MAIL FROM:<a@example.org>{parameter}", "RCPT TO:<b@example.net>")
        assert talk.send("Subject: größe\r\n\r\n".encode())[-1][:3] == code
