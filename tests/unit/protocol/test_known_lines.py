"""Command lines that were read before."""

from __future__ import annotations

from tests.scenarios.acceptor import LIMITS, Acceptor

from upesi.protocol.smtp.events import MailCommand, RcptCommand
from upesi.protocol.smtp.known import KnownLines


def said(known: KnownLines, *lines: bytes) -> Acceptor:
    acceptor = Acceptor(LIMITS, known=known)
    acceptor.feed(b"EHLO c\r\n", *lines)
    return acceptor


def test_a_line_that_another_client_said_is_not_read_again() -> None:
    """What is said again and again is one object, and costs one look-up."""
    known = KnownLines()
    lines = (b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.net>\r\n")
    first, second = said(known, *lines), said(known, *lines)
    for kind in (MailCommand, RcptCommand):
        one, other = (next(event for event in who.events if type(event) is kind) for who in (first, second))
        assert one is other


def test_only_what_always_means_the_same_is_remembered() -> None:
    """Parameters, names, answers and characters beyond ASCII are read each time."""
    known = KnownLines()
    said(
        known,
        b"MAIL FROM:<a@example.org> SIZE=10\r\n",
        b"RSET\r\n",
        b"MAIL FROM:<a@example.org> SMTPUTF8\r\n",
        "RCPT TO:<\u00e9@example.net>\r\n".encode(),
        b"RCPT TO:<b@example.net> NOTIFY=NEVER\r\n",
        b"BDAT 0 LAST\r\n",
        b"VRFY b\r\n",
        b"HELP\r\n",
        b"mail from:<>\r\n",
        b"RCPT TO:<" + b"b" * 64 + b"@" + b"x" * 62 + b".example>\r\n",
    )
    assert set(known) == {b"RSET\r\n", b"mail from:<>\r\n"}


def test_what_is_refused_is_not_remembered() -> None:
    """A line that is malformed or out of sequence is judged each time."""
    known = KnownLines()
    said(known, b"DATA\r\n", b"MAIL FROM:a@example.org\r\n", b"MAIL FROM:<a@exa\x00mple>\r\n", b"RCPT TO:<a@b>\r\n")
    assert not known


def test_they_are_never_many() -> None:
    """Every list has a bound: a client that names a million mailboxes takes no memory."""
    known = KnownLines()
    most = 0
    acceptor = said(known)
    for number in range(2000):
        acceptor.feed(b"MAIL FROM:<%d@example.org>\r\nRSET\r\n" % number)
        most = max(most, len(known))
    assert most == 512
