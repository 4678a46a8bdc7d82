"""What plugins see of a session and a transaction: bounded, small, and nothing that could break a line."""

from __future__ import annotations

import tracemalloc

import pytest

from upesi.hooks.session import MAX_ADDED, Client, Session, Transaction, TransactionRecipient
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
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
    """PLG-06: an address with CRLF is refused, new or put in the place of another."""
    recipient = TransactionRecipient(Address("a", "example.com"))
    with pytest.raises(ValueError):
        TransactionRecipient(Address(local, "example.com"))
    with pytest.raises(ValueError):
        recipient.address = Address("a", f"{local}.example.com")
    with pytest.raises(ValueError):
        recipient.address = Address(local, "example.com")
    assert recipient.address == Address("a", "example.com")


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
