"""Replies that are safe to send."""

from __future__ import annotations

import pytest

from upesi.mail.reply import MAX_REPLY_LINES, MAX_REPLY_TEXT, Reply, printable


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Reply.make(250, "2.0.0", "Ok"), b"250 2.0.0 Ok\r\n"),
        (Reply.make(354), b"354 \r\n"),
        (Reply.make(220, "", "a", "b"), b"220-a\r\n220 b\r\n"),
        (Reply.make(550, "5.7.1", "a\nb"), b"550-5.7.1 a\r\n550 5.7.1 b\r\n"),
        (Reply.make(550, "5.7.1", "a\r\n250 forged"), b"550-5.7.1 a\r\n550 5.7.1 250 forged\r\n"),
        (Reply.make(550, "5.7.1", "a\x1b[31m\0b"), b"550 5.7.1 a?[31m?b\r\n"),
        (Reply.make(550, "5.7.1", "caf\u00e9"), b"550 5.7.1 caf\xc3\xa9\r\n"),
    ],
)
def test_reply_is_encoded_when_it_is_made(reply: Reply, wire: bytes) -> None:
    """C19, C53: one code on each line, a status on each line, text that cannot add a line of its own."""
    assert reply.wire == wire


@pytest.mark.parametrize(
    ("code", "status"), [(199, ""), (600, ""), (250, "5.0.0"), (550, "4.7.1"), (550, "5.7"), (550, "x")]
)
def test_reply_that_cannot_be_is_refused(code: int, status: str) -> None:
    """RFC 2034 section 4: the class of the status is the first digit of the code."""
    with pytest.raises(ValueError):
        Reply.make(code, status, "text")


def test_reply_is_bounded() -> None:
    """RFC 5321 section 4.5.3.1.5: 512 octets a line, however long the text and whatever its characters."""
    for text in ("x" * 5000, "\u00e9" * 5000, "\U0001f600" * 5000):
        reply = Reply.make(550, "5.999.999", text)
        assert len(reply.wire) <= 512
    assert len(Reply.make(250, "", *["x"] * 1000).lines) == MAX_REPLY_LINES


def test_questions_about_a_reply() -> None:
    """By the first digit (RFC 5321 section 4.2.1)."""
    assert Reply.make(354).positive
    assert Reply.make(451, "4.3.0", "later").temporary
    assert not Reply.make(550, "5.1.1", "no").temporary
    assert str(Reply.make(550, "5.1.1", "no", "body")) == "550 5.1.1 no body"
    assert str(Reply.make(220, "", "hi")) == "220 hi"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("a\tb", "a?b"),
        ("\u202eabc\u2066", "?abc?"),
        ("\u2028\x85\x7f", "???"),
        ("\ud800", "?"),
        ("\u00e9" * 300, "\u00e9" * 245),
    ],
)
def test_printable_leaves_nothing_that_shapes_a_line(text: str, clean: str) -> None:
    """CVE-2020-8794: remote text gets into logs, reports and replies only on one line."""
    assert printable(text) == clean
    assert len(printable(text).encode()) <= MAX_REPLY_TEXT
