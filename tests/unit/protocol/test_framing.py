"""Message content on its way out."""

from __future__ import annotations

import re
from itertools import product

import pytest

from upesi.mail.errors import UnsendableContent
from upesi.protocol.smtp.framing import has_stray_newline, is_text, stuffed


@pytest.mark.parametrize(
    ("chunks", "wire"),
    [
        ([], b".\r\n"),
        ([b""], b".\r\n"),
        ([b"a"], b"a\r\n.\r\n"),
        ([b"a\r\n"], b"a\r\n.\r\n"),
        ([b"."], b"..\r\n.\r\n"),
        ([b".a\r\n..\r\n.\r\n"], b"..a\r\n...\r\n..\r\n.\r\n"),
        ([b"a\r\n", b".b\r\n"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r", b"\n", b".b"], b"a\r\n..b\r\n.\r\n"),
        ([b"a\r", b"\n.b"], b"a\r\n..b\r\n.\r\n"),
        ([b"a", b".b"], b"a.b\r\n.\r\n"),
        ([b"a\r\n", b"", b"."], b"a\r\n..\r\n.\r\n"),
    ],
)
def test_content_is_stuffed_and_ended(chunks: list[bytes], wire: bytes) -> None:
    """C06: dots at the beginning of a line are doubled, over the borders of chunks too; the last line gets its end."""
    assert b"".join(stuffed(chunks)) == wire
    assert is_text(chunks)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"a\nb"],
        [b"a\rb"],
        [b"a\r"],
        [b"a\r", b"b"],
        [b"a", b"\n"],
        [b"\r\r\n"],
        [b"\n.\r\n"],
        [b"\r\n", b"\n"],
        [b"a\0b"],
    ],
)
def test_content_with_stray_line_ends_is_refused(chunks: list[bytes]) -> None:
    """C05, FRM-23: no bare CR, bare LF or NUL leaves."""
    assert not is_text(chunks)
    with pytest.raises(UnsendableContent):
        list(stuffed(chunks))


def test_small_message_is_one_piece() -> None:
    """The end of data travels with the last of the content: one write."""
    assert list(stuffed([b"a\r\n.b\r\n"])) == [b"a\r\n..b\r\n.\r\n"]


@pytest.mark.parametrize(
    ("piece", "stray"),
    [
        (b"a", False),
        (b"a\r\n", False),
        (b"\r\na", False),
        (b"\r\n\r\n", False),
        (b"\n", True),
        (b"\ra", True),
        (b"a\x0b\x0c\x85b", False),
        (b"\n\r", True),
        (b"\rx\n", True),
    ],
)
def test_stray_newlines_are_found(piece: bytes, stray: bool) -> None:
    """Only CR LF pairs pass; other characters that end lines elsewhere (VT, FF, NEL) are text."""
    assert has_stray_newline(piece) is stray


def test_stray_newlines_are_those_without_their_partner() -> None:
    """FRM-23: over all short contents, a CR without LF behind it or an LF without CR before it is stray, and nothing else is."""
    stray = re.compile(rb"\r(?!\n)|(?<!\r)\n")
    for size in range(7):
        for octets in product(b"\r\na\x85", repeat=size):
            piece = bytes(octets)
            assert has_stray_newline(piece) is bool(stray.search(piece))
