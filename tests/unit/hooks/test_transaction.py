"""What plugins see of a session and a transaction: bounded, small, and nothing that could break a line."""

from __future__ import annotations

import tracemalloc

import pytest

from upesi.hooks.session import Client, Session, Transaction, TransactionRecipient
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.edits import MAX_ADDED
from upesi.mail.envelope import Transmission
from upesi.mail.ids import MessageId
from upesi.testkit import message, run_virtual

from .hookkit import Bench


def test_added_fields_are_complete_lines():
    """add_header gives lines with CRLF, in the order in which they were added."""
    tx = Bench().tx
    tx.add_header("X-One", "1")
    tx.add_header("X-Two", "2")
    assert tx.added == (b"X-One: 1\r\n", b"X-Two: 2\r\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nBcc: b@example.com"),
        ("X-A", "a\nb"),
        ("X-A", "a\rb"),
        ("X-A", "a\x00b"),
        ("X-A\r\nBcc", "b"),
        ("X A", "b"),
        ("X:A", "b"),
        ("", "b"),
        ("X-Ä", "b"),
        ("X" * 77, "b"),
        ("X-A", "ä"),
        ("X-A", "x" * 999),
    ],
)
def test_what_no_header_can_hold_is_refused(name: str, value: str):
    """PLG-06: a plugin's header with CR, LF or NUL, a name that is none, a line too long."""
    tx = Bench().tx
    with pytest.raises(ValueError):
        tx.add_header(name, value)
    assert tx.added == ()


def test_the_number_of_added_fields_is_bounded():
    """A plugin that loops is stopped."""
    tx = Bench().tx
    for _ in range(MAX_ADDED):
        tx.add_header("X-A", "1")
    with pytest.raises(ValueError):
        tx.add_header("X-A", "1")


@pytest.mark.parametrize("local", ["a\r\nRCPT TO:<b@x>", "a\nb", "a\x00", "\x7f"])
def test_a_recipient_cannot_become_a_command(local: str):
    """PLG-06: an address with CRLF is refused when the recipient is made, and before the 250 where it was put in the place of another."""
    recipient = TransactionRecipient(Address("a", "example.com"))
    with pytest.raises(ValueError):
        TransactionRecipient(Address(local, "example.com"))
    recipient.check()
    for address in (Address("a", f"{local}.example.com"), Address(local, "example.com")):
        recipient.address = address
        with pytest.raises(ValueError):
            recipient.check()


def test_an_internationalised_recipient_is_no_control_character():
    """U+200D stands in real names, and Python does not call it printable (RFC 6531)."""
    assert TransactionRecipient(Address("क्\u200dष", "example.com")).address.local == "क्\u200dष"


def test_headers_can_be_read_from_message_on():
    """Before the message is here there is nothing to read, and that is said."""
    tx = Bench().tx
    with pytest.raises(LookupError):
        _ = tx.headers
    tx.body = MemoryBody(message(fields={"Subject": "hello"}))
    assert tx.headers.get("subject") == "hello"
    assert tx.headers is tx.headers


def test_the_clients_name_is_asked_for_once():
    """client.hostname() is lazy and remembered."""
    asked: list[str] = []

    async def resolve(address: str) -> str:
        asked.append(address)
        return "client.example"

    client = Client("192.0.2.1", 1, resolve)
    assert run_virtual(client.hostname()) == "client.example"
    assert run_virtual(client.hostname()) == "client.example"
    assert asked == ["192.0.2.1"]


def test_an_open_session_is_small():
    """10,000 sessions after RCPT: what plugins see of each costs at most 2 kB of the 6 kB that all of it may cost."""
    sessions = []
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1000):
        session = Session(f"{number:032x}", Client(f"10.0.0.{number}", number), "mx")
        sender = Address(f"sender{number}", f"d{number}.example")
        tx = Transaction(session, MessageId(number.to_bytes(16, "big")), sender, Transmission(), None)
        tx.recipients.append(TransactionRecipient(Address(f"recipient{number}", f"e{number}.example")))
        session.transaction = tx
        sessions.append(session)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / len(sessions) < 2000


_MESSAGE = b"From: a@example.com\r\nX-A: one\r\nSubject: s\r\nx-a: two,\r\n three\r\nX-B: b\r\n\r\nbody\r\n"


def _edited(tx: Transaction) -> bytes:
    return b"".join(tx.edited.chunks())


@pytest.fixture
def tx() -> Transaction:
    """A transaction whose message is here."""
    tx = Bench().tx
    tx.body = MemoryBody(_MESSAGE)
    return tx


def test_fields_are_removed_by_name_position_and_value(tx: Transaction):
    """MSG-13: a forged field goes with its continuation lines, and the rest stays octet for octet."""
    assert tx.remove_header("X-A", 0) == 1
    assert tx.remove_header("X-A", where=lambda value: value == "two, three") == 1
    assert tx.remove_header("X-A") == 0
    assert tx.remove_header("X-C") == 0
    assert tx.remove_header("X-B", 1) == 0
    assert _edited(tx) == b"From: a@example.com\r\nSubject: s\r\nX-B: b\r\n\r\nbody\r\n"


def test_the_lowest_field_is_at_minus_one(tx: Transaction):
    """Positions count as those of lists."""
    assert tx.remove_header("X-A", -1) == 1
    assert _edited(tx) == _MESSAGE.replace(b"x-a: two,\r\n three\r\n", b"")


def test_a_field_is_replaced_in_its_place(tx: Transaction):
    """And a second time, and not where there is none."""
    assert tx.replace_header("Subject", "first")
    assert tx.replace_header("subject", "second")
    assert not tx.replace_header("X-C", "c")
    assert not tx.replace_header("X-A", "c", 2)
    assert _edited(tx) == _MESSAGE.replace(b"Subject: s", b"subject: second")


def test_fields_are_put_on_top_and_below(tx: Transaction):
    """Both keep the order in which they came; the message that came in stays readable."""
    for name in ("T-1", "T-2"):
        tx.add_header(name, "t")
    for name in ("B-1", "B-2"):
        tx.append_header(name, "b")
    assert _edited(tx) == b"T-1: t\r\nT-2: t\r\n" + _MESSAGE.replace(b"X-B: b\r\n", b"X-B: b\r\nB-1: b\r\nB-2: b\r\n")
    assert tx.body is not None
    assert tx.body.read(0, 1000) == _MESSAGE
    assert tx.headers.count("T-1") == 0


@pytest.mark.parametrize(
    ("message", "edited"),
    [
        (b"A: b\r\nnot a field\r\nC: d\r\n\r\n", b"A: b\r\nX: y\r\nnot a field\r\nC: d\r\n\r\n"),
        (b"A: b", b"X: y\r\nA: b"),
        (b"A: b\r\n", b"A: b\r\nX: y\r\n"),
        (b"\r\nbody\r\n", b"X: y\r\n\r\nbody\r\n"),
        (b" tail\r\n\r\nbody", b"X: y\r\n\r\n tail\r\n\r\nbody"),
        (b"", b"X: y\r\n"),
    ],
)
def test_a_field_below_the_others_is_one_to_every_reader(message: bytes, edited: bytes):
    """MSG-02: behind a line that is no field some readers see the body already, and a continuation belongs to what is above it."""
    tx = Bench().tx
    tx.body = MemoryBody(message)
    tx.append_header("X", "y")
    assert _edited(tx) == edited


def test_nothing_is_changed_before_the_message_is_here():
    """What is not here cannot be removed; what goes on top can be said at any time."""
    tx = Bench().tx
    tx.add_header("X", "y")
    with pytest.raises(LookupError):
        tx.remove_header("X")
    with pytest.raises(LookupError):
        _ = tx.edited


def test_a_message_that_nobody_changed_is_its_own_view(tx: Transaction):
    """No copy of mail that plugins only look at."""
    assert tx.edited is tx.body
    tx.add_header("X", "y")
    assert not tx.has_edits
