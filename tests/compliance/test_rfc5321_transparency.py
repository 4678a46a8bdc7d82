"""RFC 5321 sections 4.1.1.4 and 4.5.2: transparency, and the end of the mail data. Each docstring quotes the clause."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import codes, in_transaction

from upesi.protocol.smtp.framing import stuffed


def send(content: bytes) -> list[bytes]:
    acceptor = in_transaction()
    acceptor.feed(b"DATA\r\n", content)
    return acceptor.messages


def test_client_stuffs() -> None:
    """C06, 4.5.2: "Before sending a line of mail text, the SMTP client checks the first character of the line. If it is a period, one
    additional period is inserted at the beginning of the line."."""
    assert b"".join(stuffed([b".a\r\nb.\r\n..\r\n"])) == b"..a\r\nb.\r\n...\r\n.\r\n"


@pytest.mark.parametrize(
    ("wire", "stored"), [(b"..\r\n", b".\r\n"), (b".a\r\n", b"a\r\n"), (b"a.\r\n", b"a.\r\n"), (b"...\r\n", b"..\r\n")]
)
def test_server_unstuffs(wire: bytes, stored: bytes) -> None:
    """C06, FRM-11, 4.5.2: "If the first character is a period and there are other characters on the line, the first character is
    deleted."."""
    assert send(wire + b".\r\n") == [stored]


def test_a_line_of_one_dot_is_the_end() -> None:
    """C06, FRM-12, 4.5.2: "If the line is composed of a single period, it is treated as the end of mail indicator."."""
    assert send(b"a\r\n.\r\n") == [b"a\r\n"]
    assert send(b".\r\n") == [b""]


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\n.\r", b"\r.\n", b"\r\n.\r"]
)
def test_nothing_else_is_the_end(end: bytes) -> None:
    """C05, FRM-01..07, 4.1.1.4: "The custom of accepting lines ending only in <LF>, as a concession to non-conforming behavior on the part
    of some UNIX systems, has proven to cause more interoperability problems than it solves, and SMTP server systems MUST NOT do
    this"."""
    acceptor = in_transaction()
    assert codes(acceptor.feed(b"DATA\r\n", b"a" + end + b"NOOP")) == [354]


def test_crlf_before_the_end_belongs_to_the_message() -> None:
    """4.1.1.4: "The first <CRLF> of this terminating sequence is also the <CRLF> that ends the final line of the data"."""
    assert send(b"a\r\n\r\n.\r\n") == [b"a\r\n\r\n"]


def test_every_octet_value_passes() -> None:
    """4.5.2: "The mail data may contain any of the 128 ASCII characters." NUL, and CR and LF alone, are refused for safety's sake; 8BITMIME
    adds the rest."""
    content = bytes(octet for octet in range(1, 256) if octet not in b"\r\n") + b"\r\n"
    assert send(content + b".\r\n") == [content]
