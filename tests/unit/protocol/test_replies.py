"""The parser of replies against tables of what servers send."""

from __future__ import annotations

import pytest

from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.smtp.replies import MAX_LINE, MAX_LINES, ParsedReply, ReplyParser


def parse(octets: bytes) -> ParsedReply | None:
    parser = ReplyParser()
    parser.receive(octets)
    return parser.next()


@pytest.mark.parametrize(
    ("octets", "parsed"),
    [
        (b"250 ok\r\n", ParsedReply(250, "", ("ok",))),
        (b"250\r\n", ParsedReply(250, "", ("",))),
        (b"250 \r\n", ParsedReply(250, "", ("",))),
        (b"250 ok\n", ParsedReply(250, "", ("ok",))),
        (b"250-a\r\n250-\r\n250 c\r\n", ParsedReply(250, "", ("a", "", "c"))),
        (b"250-a\r\n250\r\n", ParsedReply(250, "", ("a", ""))),
        (b"550 5.1.1 no such user\r\n", ParsedReply(550, "5.1.1", ("no such user",))),
        (b"550-5.1.1 no\r\n550 5.1.1 user\r\n", ParsedReply(550, "5.1.1", ("no", "user"))),
        (b"550-5.1.1 no\r\n550 user\r\n", ParsedReply(550, "5.1.1", ("no", "user"))),
        (b"550 5.1.1\r\n", ParsedReply(550, "5.1.1", ("",))),
        (b"450 5.1.1 class and code differ\r\n", ParsedReply(450, "", ("5.1.1 class and code differ",))),
        (b"550 5.1.1000 no status\r\n", ParsedReply(550, "", ("5.1.1000 no status",))),
        (b"299 new\r\n", ParsedReply(299, "", ("new",))),
        (b"573 new\r\n", ParsedReply(573, "", ("new",))),
        (b"250 \x1b[31mred\x00\x07\r\n", ParsedReply(250, "", ("?[31mred??",))),
        (b"250 a\rb\r\n", ParsedReply(250, "", ("a?b",))),
        (b"250 caf\xc3\xa9\r\n", ParsedReply(250, "", ("café",))),
        (b"250 caf\xe9\r\n", ParsedReply(250, "", ("caf\ufffd",))),
        (b"250 \xe2\x80\xaetxt\r\n", ParsedReply(250, "", ("?txt",))),
        (b"250 not yet", None),
        (b"250-not yet\r\n", None),
        (b"", None),
    ],
)
def test_reply_is_read(octets: bytes, parsed: ParsedReply | None) -> None:
    """C20, OUT-02: empty text and unknown codes are fine, text is sanitised, a status must agree with its code."""
    assert parse(octets) == parsed


@pytest.mark.parametrize(
    "octets",
    [
        b"abc\r\n",
        b"000 zero\r\n",
        b"150 preliminary\r\n",
        b"650 no\r\n",
        b"2500 five digits\r\n",
        b"2xx5\r\n",
        b"25\r\n",
        b"\r\n",
        b" 250 ok\r\n",
        b"250_ok\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
        "２５０ ok\r\n".encode(),
    ],
)
def test_what_is_no_reply_is_an_error(octets: bytes) -> None:
    """C19, OUT-02: lines without a code, and codes that change inside a reply."""
    with pytest.raises(RemoteProtocolError):
        parse(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"220 " + b"x" * MAX_LINE,
        b"220 " + b"x" * MAX_LINE + b"\r\n",
        b"220-x\r\n" * (MAX_LINES + 1),
        (b"220-" + b"x" * 1000 + b"\r\n") * 66,
    ],
    ids=["no end", "long line", "many lines", "many octets"],
)
def test_replies_are_bounded(octets: bytes) -> None:
    """OUT-01: 4 kB a line, 512 lines, 64 kB in all."""
    with pytest.raises(RemoteProtocolError):
        parse(octets)


def test_long_text_is_cut() -> None:
    """A line longer than RFC 5321 allows is taken, and kept no longer than a reply of ours."""
    parsed = parse(b"250 " + b"x" * 2000 + b"\r\n")
    assert parsed is not None
    assert len(parsed.lines[0]) == 490


def test_replies_come_one_by_one() -> None:
    """What is behind a reply waits for the next call."""
    parser = ReplyParser()
    parser.receive(b"250 a\r\n250-b\r\n")
    assert parser.next() == ParsedReply(250, "", ("a",))
    assert parser.next() is None
    assert parser.pending
    parser.receive(b"250 c\r\n")
    assert parser.next() == ParsedReply(250, "", ("b", "c"))
    assert not parser.pending
