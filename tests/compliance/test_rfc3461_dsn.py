"""RFC 3461: NOTIFY, RET, ENVID and ORCPT, taken strictly, kept, and passed on. Each docstring names the clause."""

from __future__ import annotations

import msgspec
import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes
from tests.unit.session.sessionkit import Dialogue

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import TOLD, Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.route import MxRoute
from upesi.mail.timing import ByMode, DeliverBy
from upesi.protocol.smtp.client import ClientConnection
from upesi.spool.records import NewDelivery, NewMessage
from upesi.spool.rows import MessageMeta, delivery_from, delivery_row, message_meta, message_row


def mail(parameters: str) -> int:
    return codes(Acceptor().feed(f"EHLO c\r\nMAIL FROM:<a@b> {parameters}\r\n".encode()))[-1]


def rcpt(parameters: str) -> int:
    return codes(Acceptor().feed(f"EHLO c\r\nMAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<c@d> {parameters}\r\n".encode()))[-1]


def test_the_extension_is_announced() -> None:
    """C55, section 3: "DSN", without parameters; where it is turned off it is not said."""
    assert "DSN" in LIMITS.ehlo_keywords()
    assert "DSN" not in msgspec.structs.replace(LIMITS, dsn=False).ehlo_keywords()


@pytest.mark.parametrize(
    "parameters",
    [
        "RET=FULL", "RET=hdrs", "ret=Full ENVID=x", "ENVID=" + "x" * 100, "ENVID=QQ+2B3+3D14", "ENVID=" + "+20" * 33,
        "ENVID=!\"#$%&'()*,-./09:;<>?@AZ[\\]^_`az{|}~",
    ],
)  # fmt: skip
def test_ret_and_envid_are_taken(parameters: str) -> None:
    """C55, sections 4.3, 4.4 and 5.4: FULL or HDRS in any case; xtext of up to 100 characters."""
    assert mail(parameters) == 250


@pytest.mark.parametrize(
    "parameters",
    [
        "RET", "RET=", "RET=ALL", "RET=FULL,HDRS", "RET=FULL RET=HDRS", "RET=FULL RET=FULL",
        "ENVID", "ENVID=", "ENVID=" + "x" * 101, "ENVID=a ENVID=b", "ENVID=a=b", "ENVID=a+b", "ENVID=a+2", "ENVID=a+2b", "ENVID=+GG",
        "ENVID=a+0D+0Ab", "ENVID=+00", "ENVID=+7F", "ENVID=+80", "ENVID=+FF",
    ],
)  # fmt: skip
def test_ret_and_envid_are_refused(parameters: str) -> None:
    """C55, DSN-03, sections 4, 4.3 and 4.4: once each; xtext with upper-case digits, and nothing that prints as a line end or a control."""
    assert mail(parameters) == 501


@pytest.mark.parametrize(
    "parameters",
    [
        "NOTIFY=NEVER", "NOTIFY=never", "NOTIFY=SUCCESS", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=Delay,Success",
        "ORCPT=rfc822;a@b", "ORCPT=RFC822;Al+2Bias@B", "orcpt=x400;/C+3DUS/", "ORCPT=rfc822;" + "x" * 493,
        "ORCPT=utf-8;j\\x{FC}rgen@b", "ORCPT=utf-8;jürgen@b", "NOTIFY=NEVER ORCPT=rfc822;a@b",
    ],
)  # fmt: skip
def test_notify_and_orcpt_are_taken(parameters: str) -> None:
    """C55, sections 4.1, 4.2 and 5.4, RFC 6533 section 3: words in any case and order; a type and its address, 500 characters."""
    assert rcpt(parameters) == 250


@pytest.mark.parametrize(
    "parameters",
    [
        "NOTIFY", "NOTIFY=", "NOTIFY=ALWAYS", "NOTIFY=NEVER,FAILURE", "NOTIFY=FAILURE,NEVER", "NOTIFY=NEVER,NEVER",
        "NOTIFY=SUCCESS,SUCCESS", "NOTIFY=SUCCESS,", "NOTIFY=,SUCCESS", "NOTIFY=SUCCESS;DELAY", "NOTIFY=DELAY NOTIFY=DELAY",
        "ORCPT", "ORCPT=", "ORCPT=a@b", "ORCPT=;a@b", "ORCPT=rfc822;", "ORCPT=rf/c;a@b", "ORCPT=rfc822;a+0D+0Ab",
        "ORCPT=rfc822;a=b", "ORCPT=rfc822;a+zz", "ORCPT=rfc822;" + "x" * 501, "ORCPT=rfc822;a ORCPT=rfc822;b",
        "ORCPT=utf-8;a\\x{0D}b", "ORCPT=utf-8;a\\x{202E}b", "ORCPT=utf-8;a\\x{D800}b",
    ],
)  # fmt: skip
def test_notify_and_orcpt_are_refused(parameters: str) -> None:
    """C55, DSN-03, sections 4.1 and 4.2: NEVER alone, no word twice; a type, and text that shapes nothing when it is read again."""
    assert rcpt(parameters) == 501


def test_parameters_are_for_their_own_command() -> None:
    """C55: NOTIFY is none of MAIL's, RET none of RCPT's (555)."""
    assert mail("NOTIFY=NEVER") == 555
    assert rcpt("RET=FULL") == 555


def kept(transmission: Transmission, recipient: Recipient) -> tuple[MessageMeta, Recipient]:
    """Return what the spool gives back."""
    delivery = NewDelivery("q", MxRoute("d.example"), (recipient,), 1.0, 2.0)
    message = NewMessage(MessageId(bytes(16)), 1.0, None, transmission, b"", MemoryBody(b""), (delivery,))
    _, _, meta, prefix, _, sum = message_row(1, message, b"", 0)
    row = delivery_row(7, delivery, delivery.state)
    values = row.values(message.id, 1, (1.0, 0, 0, ""), 0)
    read = delivery_from((7, message.id, "q", 1, 1.0, 2.0, 1.0, 0, 0, values[14], values[15]))
    return message_meta(bytes(message.id), meta, prefix, sum), read.recipients[0]


@pytest.mark.parametrize(
    "transmission",
    [
        Transmission(), Transmission(ret=ReturnContent.FULL, envid="a+b=c"), Transmission(requiretls=True, priority=-9),
        Transmission(by=DeliverBy(1795342577.25, ByMode.NOTIFY, True)), Transmission(by=DeliverBy(1.0, ByMode.RETURN)),
    ],
)  # fmt: skip
def test_the_spool_gives_back_what_was_asked(transmission: Transmission) -> None:
    """C56: what a restart finds is what the sender said."""
    for recipient in (
        Recipient(Address("c", "d.example")),
        Recipient(Address("jürgen", "d.example"), "utf-8;jürgen@d.example", int(Notify.SUCCESS | Notify.DELAY)),
        Recipient(Address("c", "d.example"), None, int(Notify.NEVER), TOLD),
    ):
        meta, read = kept(transmission, recipient)
        assert meta.transmission == transmission
        assert read == recipient


def test_who_asks_for_nothing_pays_nothing() -> None:
    """Rows of mail without parameters hold none of them: they are as small as before there were any."""
    encode = msgspec.msgpack.Encoder().encode
    assert encode(Transmission()) == b"\x80"
    assert encode(Recipient(Address("c", "d"))) == b"\x81\xa7address" + encode(Address("c", "d"))


def client(*offered: str) -> ClientConnection:
    connection = ClientConnection()
    connection.receive(b"220 x\r\n")
    connection.next_reply()
    connection.ehlo("us")
    lines = ("x", "PIPELINING", *offered)
    connection.receive(
        "".join(f"250{'-' if n < len(lines) - 1 else ' '}{line}\r\n" for n, line in enumerate(lines)).encode()
    )
    connection.next_reply()
    return connection


@pytest.mark.parametrize(
    ("mail", "to"),
    [
        ("", ""), ("RET=HDRS ENVID=QQ+2B3+3D14", "NOTIFY=NEVER"), ("ENVID=x", "ORCPT=rfc822;Al+2Bias@Example.ORG"),
        ("RET=FULL", "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=x400;/C+3DUS/"),
    ],
)  # fmt: skip
def test_what_came_in_goes_on(mail: str, to: str) -> None:
    """C56, section 5.2.1: to a server with DSN each parameter goes on with its value, in its case, and none that did not come; section
    5.2.2 (a): to another server none goes."""
    talk = Dialogue()
    talk.hello()
    talk.say(f"MAIL FROM:<a@example.org> {mail}".rstrip(), f"RCPT TO:<b@example.net> {to}".rstrip())
    talk.send()
    (message,) = talk.intake.accepted
    (recipient,) = message.deliveries[0].recipients
    next_hop = client("DSN")
    assert (
        next_hop.mail(message.reverse_path, message.transmission).decode()
        == f"MAIL FROM:<a@example.org> {mail}".rstrip() + "\r\n"
    )
    assert next_hop.rcpt(recipient).decode() == f"RCPT TO:<b@example.net> {to}".rstrip() + "\r\n"
    other = client()
    assert other.mail(message.reverse_path, message.transmission) == b"MAIL FROM:<a@example.org>\r\n"
    assert other.rcpt(recipient) == b"RCPT TO:<b@example.net>\r\n"
