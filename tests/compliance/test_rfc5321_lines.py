"""RFC 5321 sections 2.3.8, 2.4, 4.1.1 and 4.5.3: lines, case, sizes. Each docstring quotes the clause."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import Acceptor, codes, in_transaction

from upesi.protocol.smtp.events import MailCommand, RcptCommand


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r", b"\x0b", b"\x85", b"\xe2\x80\xa8"])
def test_only_crlf_ends_a_command(end: bytes) -> None:
    """C05, CMD-01, 2.3.8: "Conforming implementations MUST NOT recognize or generate any other character or character sequence as a line
    terminator."."""
    acceptor = Acceptor()
    acceptor.feed(b"EHLO c" + end + b"MAIL FROM:<a@b>" + end + b"\r\n")
    assert not any(isinstance(event, MailCommand) for event in acceptor.events)
    assert 250 not in codes(acceptor.output)


@pytest.mark.parametrize("line", [b"ehlo c", b"EhLo c", b"EHLO c"])
def test_verbs_are_not_case_sensitive(line: bytes) -> None:
    """C03, 2.4: "Verbs and argument values (e.g., "TO:" or "to:" in the RCPT command and extension name keywords) are not case
    sensitive"."""
    assert codes(Acceptor().feed(line + b"\r\n")) == [250]


def test_local_part_keeps_its_case() -> None:
    """C03, 2.4: "The local-part of a mailbox MUST BE treated as case sensitive. Therefore, SMTP implementations MUST take care to preserve
    the case of mailbox local-parts."."""
    acceptor = in_transaction()
    acceptor.feed(b"RCPT TO:<SmItH@EXAMPLE.com>\r\n")
    event = acceptor.events[-1]
    assert isinstance(event, RcptCommand)
    assert str(event.forward_path) == "SmItH@example.com"


@pytest.mark.parametrize(
    "path",
    [
        b"l" * 64 + b"@example.com",
        b"l@" + b".".join([b"d" * 63] * 3) + b"." + b"d" * 56,
        b"l" * 62 + b"@" + b".".join([b"d" * 63] * 2) + b"." + b"d" * 63,
    ],
)
def test_minimum_sizes_of_paths_are_taken(path: bytes) -> None:
    """C12, ADR-06, 4.5.3.1.1 to .3: local-part 64 octets, path 256 octets with its brackets, domain as long as the path lets it be."""
    assert len(path) <= 254
    assert codes(in_transaction().feed(b"RCPT TO:<" + path + b">\r\n")) == [250]


def test_command_line_of_512_octets_is_taken() -> None:
    """C12, CMD-02, 4.5.3.1.4: "The maximum total length of a command line including the command word and the <CRLF> is 512 octets."."""
    assert codes(Acceptor().feed(b"NOOP " + b"x" * 505 + b"\r\n")) == [250]


def test_text_line_of_1000_octets_is_taken_and_longer_ones_too() -> None:
    """C12, 4.5.3.1.6: "The maximum total length of a text line including the <CRLF> is 1000 octets"; 4.5.3.1: no length limit should be
    imposed where it can be avoided."""
    for size in (998, 50_000):
        acceptor = in_transaction()
        acceptor.feed(b"DATA\r\n", b"x" * size + b"\r\n.\r\n")
        assert acceptor.messages == [b"x" * size + b"\r\n"]


def test_a_hundred_recipients_are_taken() -> None:
    """C13, RCP-01, 4.5.3.1.8: "The minimum total number of recipients that MUST be buffered is 100 recipients."."""
    acceptor = in_transaction()
    answer = acceptor.feed(b"".join(b"RCPT TO:<u%d@b>\r\n" % n for n in range(99)))
    assert codes(answer) == [250] * 99


def test_blanks_at_the_end_of_a_line_are_tolerated() -> None:
    """4.1.1: "SMTP receivers SHOULD tolerate trailing white space before the terminating <CRLF>."."""
    assert codes(Acceptor().feed(b"EHLO c \r\nMAIL FROM:<> \r\nRSET  \r\n")) == [250, 250, 250]


@pytest.mark.parametrize("line", [b"DATA x", b"RSET x", b"QUIT x"])
def test_commands_without_argument_take_none(line: bytes) -> None:
    """C18, CMD-09, 4.1.1.4, 4.1.1.5, 4.1.1.10: the syntax of DATA, RSET and QUIT has no argument; 4.2.4: 501 is for arguments."""
    assert codes(in_transaction().feed(line + b"\r\n")) == [501]
