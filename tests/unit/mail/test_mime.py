"""The tree of a message: what is a part, what is in it, and what other programs may see there instead."""

from __future__ import annotations

import base64
import tracemalloc
import zlib

import pytest

from upesi.mail.body import MemoryBody
from upesi.mail.mime import Mime, Part
from upesi.mail.mime_scan import MAX_DEFECTS, MAX_DEPTH, MAX_LINES, MAX_PARTS, scan

_MIXED = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\n'


def tree(message: bytes) -> Mime:
    """Scan a message twice, in memory and in pieces as of a file; both have the same answer."""
    found = scan(MemoryBody(message))
    again = scan(_Filed(message))
    assert [_place(part) for part in again.parts] == [_place(part) for part in found.parts]
    assert again.defects == found.defects
    return found


def _place(part: Part) -> tuple[object, ...]:
    return part.path, part.start, part.header_end, part.content_start, part.end, part.content_type


class _Filed:
    """A body that is read in pieces, as from a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def chunks(self):
        yield self._data


def kinds(message: bytes) -> set[str]:
    """Return the kinds of defects of a message."""
    return {defect.kind for defect in tree(message).defects}


def shape(message: bytes) -> list[tuple[str, str, bytes]]:
    """Return path, type and content of every part that has no parts."""
    return [(p.path, p.content_type, p.content()) for p in tree(message).parts if not p.parts]


def test_a_message_without_mime_is_one_part_of_text():
    """RFC 2045 section 5.2: text/plain in us-ascii is what no Content-Type means."""
    found = tree(b"Subject: x\r\n\r\nhello\r\n")
    assert found.parts == (found.root,)
    assert (found.root.path, found.root.content_type, found.root.text()) == ("", "text/plain", "hello\r\n")
    assert not found.defects


def test_parts_are_found_with_their_exact_octets():
    """RFC 2046 section 5.1.1: the line end in front of a delimiter belongs to it; preamble and epilogue are no parts."""
    message = (
        _MIXED + b"preamble\r\n--b\r\n\r\none\r\n\r\n--b  \t\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
        b"--c\r\n\r\ntwo\r\n--c\r\nContent-Type: text/html\r\n\r\n<b>\r\n--c--\r\n--b\r\n\r\n--b--\r\nepilogue\r\n"
    )
    assert shape(message) == [
        ("1", "text/plain", b"one\r\n"),
        ("2.1", "text/plain", b"two"),
        ("2.2", "text/html", b"<b>"),
        ("3", "text/plain", b""),
    ]
    assert not tree(message).defects


def test_a_message_in_a_message_has_its_own_parts():
    """A message/rfc822 holds a message; in a multipart/digest it is the default type (RFC 2046 section 5.1.5)."""
    message = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: inner\r\n"
        b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\ndeep\r\n--c--\r\n--b--\r\n"
    )
    found = tree(message)
    assert [(part.path, part.content_type) for part in found.parts] == [
        ("", "multipart/digest"), ("1", "message/rfc822"), ("1.0", "multipart/mixed"), ("1.0.1", "text/plain"),
    ]  # fmt: skip
    inner = found.part("1.0")
    assert inner is not None
    assert inner.headers.get("Subject") == "inner"
    assert found.part("1.0.1").content() == b"deep"  # type: ignore[union-attr]
    # what is shown as text of its own is not what stands in messages inside
    assert list(found.texts()) == []


def test_a_message_in_base64_is_not_opened_by_itself():
    """RFC 2046 section 5.2.1 forbids the encoding: some programs open it, so it can be, and is a defect."""
    message = (
        _MIXED + b"--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        b"U3ViamVjdDogeA0KDQpib2R5\r\n--b--\r\n"
    )
    found = tree(message)
    part = found.parts[1]
    assert [defect.kind for defect in found.defects] == ["encoded-message"]
    assert not part.parts
    inside = part.unpacked()
    assert inside is not None
    assert scan(inside).root.headers.get("Subject") == "x"


def test_attachments_are_told_from_text():
    """What is said to be one, has a file name or is not text; a related picture too."""
    message = (
        _MIXED + b"--b\r\n\r\ntext\r\n"
        b"--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nnote\r\n"
        b"--b\r\nContent-Type: image/png\r\n\r\npicture\r\n"
        b"--b\r\nContent-Type: text/html; name=page.html\r\n\r\npage\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ninner\r\n--b--\r\n"
    )
    found = tree(message)
    assert [part.path for part in found.attachments()] == ["2", "3", "4", "5"]
    assert [part.path for part in found.texts()] == ["1"]
    assert [part.path for part in found.texts("html")] == []


def test_archives_are_not_opened():
    """MSG-09: a bomb of any kind is an attachment of the octets that came, whatever it would become; who unpacks it needs bounds."""
    bomb = zlib.compress(bytes(50_000_000), 9)
    encoded = base64.encodebytes(bomb).replace(b"\n", b"\r\n")
    head = b"--b\r\nContent-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    found = tree(_MIXED + head + encoded + b"--b--\r\n")
    (part,) = found.attachments()
    assert part.content(10**9) == bomb
    assert not part.parts


@pytest.mark.parametrize(
    ("encoding", "encoded", "content"),
    [
        (b"base64", b"aGVs\r\nbG8=\r\n", b"hello"),
        (b"BASE64 (yes)", b"aGVsbG8=", b"hello"),
        (b"quoted-printable", b"h=65llo=\r\n=20there\r\n", b"hello there\r\n"),
        (b"8bit", b"h\xc3\xa9\r\n", b"h\xc3\xa9\r\n"),
        (b"binary", b"\0\xff", b"\0\xff"),
        (b"x-uuencode", b"begin 644 a.txt\r\n%:&5L;&\\\r\n`\r\nend\r\n", b"hello"),
        (b"x-nobody-knows", b"as it is", b"as it is"),
    ],
)
def test_transfer_encodings_are_undone(encoding: bytes, encoded: bytes, content: bytes):
    """RFC 2045 section 6: what nobody knows stays as it is."""
    message = b"Content-Transfer-Encoding: " + encoding + b"\r\n\r\n" + encoded
    assert tree(message).root.content() == content
    assert ("bad-encoding" in kinds(message)) == (b"nobody" in encoding)


def test_content_comes_in_pieces_and_no_more_than_asked_for():
    """A large part is decoded as far as somebody reads it; its hash needs no more memory than a piece."""
    data = b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 19 * 300_000
    part = scan(_Filed(data)).root
    tracemalloc.start()
    try:
        assert part.content(7) == b"ABCABCA"
        assert len(part.digest()) == 64
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        (b"iso-8859-15", b"\xa4", "€"),
        (b"utf-8", "ä".encode(), "ä"),
        (b"us-ascii", "ä".encode(), "ä"),
        (b"us-ascii", b"\xe4", "ä"),
        (b"windows-1251", "привет".encode("cp1251"), "привет"),
        (b"gb2312", "中文".encode("gbk"), "中文"),
        (b"iso-2022-jp", "日本".encode("iso2022_jp"), "日本"),
        (b"ks_c_5601-1987", "한국".encode("cp949"), "한국"),
        (b"utf-16", "\ufeffa\0".encode("utf-16-le"), "a\0"),
        (b"utf-16", b"\xff\xfea", "\ufffd"),
        (b"utf-7", b"+ADw-", "<"),
        (b"../../etc/passwd", b"a", "a"),
        (b"zlib", b"a", "a"),
        (b"idna", b"xn--a", "xn--a"),
        (b"unicode_escape", rb"\x41", r"\x41"),
        (b"x" * 10_000, b"\xe4", "ä"),
        (b"utf-8", b"\xff", "\ufffd"),
    ],
)
def test_text_is_read_in_its_charset_or_the_likeliest_one(charset: bytes, octets: bytes, text: str):
    """MSG-08, MSG-17: an unknown charset, one that is a codec of something else, a wrong one: never an exception."""
    assert tree(b"Content-Type: text/plain; charset=" + charset + b"\r\n\r\n" + octets).root.text() == text


# -- what programs read differently


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("duplicate-field", b"Content-Type: text/plain\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nx\r\n"),
        ("duplicate-field", b"Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n"),
        ("bad-content-type", b"Content-Type: text\r\n\r\nx\r\n"),
        ("bad-content-type", b"Content-Type: a/b/c\r\n\r\nx\r\n"),
        ("duplicate-parameter", _MIXED.replace(b'"b"', b"c; boundary=b") + b"--b\r\n\r\n--b--\r\n"),
        ("unclosed-quote", _MIXED.replace(b'"b"', b'"b') + b"--b\r\n\r\n--b--\r\n"),
        ("comment", _MIXED.replace(b'"b"', b"b (c)") + b"--b\r\n\r\n--b--\r\n"),
        ("no-boundary", b"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nx\r\n----\r\n"),
        ("bad-boundary", b"Content-Type: multipart/mixed; boundary=" + b"b" * 2048 + b"\r\n\r\nx\r\n"),
        ("bad-boundary", b'Content-Type: multipart/mixed; boundary="b\xc3\xa4"\r\n\r\nx\r\n'),
        ("bad-boundary", b'Content-Type: multipart/mixed; boundary=" b "\r\n\r\n-- b\r\n\r\nx\r\n-- b--\r\n'),
        ("extended-boundary", b"Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\r\n\r\n--bc\r\n\r\n--bc--\r\n"),
        ("boundary-reused", _MIXED + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n"),
        ("boundary-prefix", _MIXED + b"--b\r\nContent-Type: multipart/mixed; boundary=bc\r\n\r\n--bc\r\n\r\n--bc--\r\n--b--\r\n"),
        ("odd-delimiter", _MIXED + b"--b\r\n\r\nx\r\n--b and more\r\n\r\ny\r\n--b--\r\n"),
        ("odd-delimiter", _MIXED + b"--b\r\n\r\nx\r\n--b---\r\n\r\ny\r\n--b--\r\n"),
        ("bare-line-end", _MIXED + b"--b\r\n\r\nx\n--b\r\n\r\ny\r\n--b--\r\n"),
        ("bare-line-end", _MIXED + b"--b\r\n\r\nx\r--b--\r\n\r\ny\r\n--b--\r\n"),
        ("no-delimiter", _MIXED + b"text\r\n"),
        ("no-delimiter", _MIXED + b"--b--\r\n"),
        ("part-after-end", _MIXED + b"--b\r\n\r\nx\r\n--b--\r\n\r\n--b\r\n\r\nevil\r\n--b--\r\n"),
        ("fields-in-preamble", _MIXED + b"Content-Type: text/html\r\n\r\nevil\r\n--b\r\n\r\nx\r\n--b--\r\n"),
        ("double-delimiter", _MIXED + b"--b\r\n--b\r\n\r\nx\r\n--b--\r\n"),
        ("double-delimiter", _MIXED + b"--b\r\n--b--\r\n"),
        ("cut-header", _MIXED + b"--b\r\nContent-Type: text/html\r\n--b\r\n\r\nx\r\n--b--\r\n"),
        ("odd-line", _MIXED + b"--b\r\nContent-Type: text/html\r\nno field\r\n\r\nx\r\n--b--\r\n"),
        ("odd-line", b"Content\xc3\xa4-Type: text/html\r\n\r\nx\r\n"),
        ("odd-line", b" Subject: x\r\n\r\nx\r\n"),
        ("blank-continuation", b"Subject: x\r\n \r\nContent-Type: text/html\r\n\r\nx\r\n"),
        ("control-in-header", b"Subject: x\r\r\nContent-Type: text/html\r\n\r\nx\r\n"),
        ("control-in-header", b"Subject: x\0y\r\n\r\nx\r\n"),
        ("bad-encoding", b"Content-Transfer-Encoding: base65\r\n\r\nx\r\n"),
        ("encoded-multipart", _MIXED.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n") + b"--b\r\n\r\n--b--\r\n"),
        ("two-names", b'Content-Type: text/plain; name="a.txt"\r\nContent-Disposition: attachment; filename=a.exe\r\n\r\nx\r\n'),
        ("two-names", b"Content-Disposition: attachment; filename=a.txt; filename*=utf-8''a.exe\r\n\r\nx\r\n"),
    ],
)  # fmt: skip
def test_what_programs_read_differently_is_said(kind: str, message: bytes):
    """MSG-02, MSG-03, MSG-06, MSG-18: a policy can refuse what a check and a reader may take for two different messages."""
    found = tree(message)
    defects = {defect.kind: defect for defect in found.defects}
    assert kind in defects
    assert defects[kind].ambiguous
    assert defects[kind] in found.ambiguous


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing-end", _MIXED + b"--b\r\n\r\nx\r\n"),
        ("no-mime-version", b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n--b--\r\n"),
        ("unquoted", b"Content-Type: text/plain; name=a b.txt\r\n\r\nx\r\n"),
        ("parameter-gap", b"Content-Type: text/plain; name*0=a; name*2=b\r\n\r\nx\r\n"),
        ("partial", b"Content-Type: message/partial; id=x; number=1; total=2\r\n\r\nx\r\n"),
        ("external-body", b"Content-Type: message/external-body; access-type=URL\r\n\r\nContent-Type: a/b\r\n\r\n"),
        ("unsafe-name", b"Content-Disposition: attachment; filename=\"../a\"\r\n\r\nx\r\n"),
    ],
)  # fmt: skip
def test_what_is_only_wrong_is_said_too(kind: str, message: bytes):
    """MSG-07, MSG-15, MSG-17: flagged, and never put together or fetched."""
    defects = {defect.kind: defect for defect in tree(message).defects}
    assert kind in defects
    assert not defects[kind].ambiguous


def test_the_outermost_multipart_takes_its_delimiter():
    """MSG-06: whatever is open inside ends there; a delimiter of the inner one behind it is text."""
    message = (
        _MIXED
        + b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--c--\r\n--b--\r\n"
    )
    assert shape(message) == [("1.1", "text/plain", b"one"), ("2", "text/plain", b"two\r\n--c--")]


def test_a_delimiter_that_is_cut_by_the_border_of_two_pieces_is_found():
    """A large body is read in pieces: wherever the delimiter stands, the tree is the same."""
    size = 256 * 1024
    for place in (*range(size - 30, size + 30, 3), 2 * size - 1110, 2 * size - 1100, 2 * size - 1090):
        message = _MIXED + b"--b\r\n\r\n"
        message += b"x" * (place - len(message)) + b"\r\n--b\r\n\r\ny\r\n--b--\r\n"
        assert [part.path for part in tree(message).parts] == ["", "1", "2"]


# -- bounds


def test_the_number_of_parts_is_bounded():
    """MSG-06: a million empty parts; what is behind the bound belongs to the last part."""
    found = scan(MemoryBody(_MIXED + b"--b\r\n\r\n" * 100_000 + b"--b--\r\n"))
    assert len(found.parts) == MAX_PARTS
    assert "too-many-parts" in {defect.kind for defect in found.ambiguous}


@pytest.mark.parametrize("depth", [100, 1_500, 20_000])
def test_the_depth_is_bounded(depth: int):
    """MSG-06: nested multiparts, without recursion."""
    line = b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n"
    levels = b"".join(line % (level, level + 1) for level in range(depth))
    found = tree(_MIXED.replace(b'"b"', b"b0") + levels)
    assert max(part.depth for part in found.parts) == MAX_DEPTH
    assert "too-deep" in {defect.kind for defect in found.defects}


def test_messages_in_messages_count_as_depth():
    """MSG-06: message/rfc822 in message/rfc822, 20,000 times."""
    found = tree(b"Content-Type: message/rfc822\r\n\r\n" * 20_000)
    assert max(part.depth for part in found.parts) == MAX_DEPTH
    assert {defect.kind for defect in found.defects} == {"too-deep", "no-mime-version"}


def test_lines_that_could_be_delimiters_are_bounded():
    """MSG-06: "--" at the beginning of every line."""
    found = scan(MemoryBody(_MIXED + b"--b\r\n\r\n" + b"--a\r\n" * (MAX_LINES + 10) + b"--b--\r\n"))
    assert [defect.kind for defect in found.defects] == ["too-many-lines", "missing-end"]


@pytest.mark.parametrize(
    "header", [b"Subject: " + b"x" * 3_000_000, b"a: b\r\n" * 500_000, b"a:" + b"\r\n b" * 600_000]
)
def test_a_header_section_is_looked_at_as_far_as_its_bound(header: bytes):
    """MSG-01, MSG-16: one field, many, or many lines of 3 MB."""
    assert "header-too-large" in kinds(header + b"\r\n\r\nbody")
    part = _MIXED + b"--b\r\n" + header + b"\r\n\r\nx\r\n--b\r\n\r\ny\r\n--b--\r\n"
    found = tree(part)
    assert "header-too-large" in {defect.kind for defect in found.ambiguous}
    assert [p.path for p in found.parts] == ["", "1", "2"]


def test_the_number_of_defects_is_bounded():
    """A message that is nothing but defects leaves a hundred of them."""
    message = _MIXED + b"--b\r\nodd\r\n" * 500 + b"--b--\r\n"
    assert len(tree(message).defects) == MAX_DEFECTS


_SIZE = 5_000_000


@pytest.mark.parametrize(
    "message",
    [
        _MIXED + b"--b\r\n" * (_SIZE // 5),
        _MIXED + b"--bx\r\n" * (_SIZE // 6),
        _MIXED + b"--b\r\n\r\n" * (_SIZE // 7),
        _MIXED + b"\r\n--" * (_SIZE // 4),
        _MIXED + (b"\r\n--" + b" " * 990) * (_SIZE // 994),
        _MIXED + b"\r" * _SIZE,
        _MIXED + b"\n--b" * (_SIZE // 4),
        b"a:b\r\n" * (_SIZE // 5),
        b"Content-Type: text/plain" + b"; a=b" * (_SIZE // 5) + b"\r\n\r\n",
        b"Content-Type: text/plain; name=" + b"(" * 200_000 + b"\r\n\r\n",
        b'Content-Type: text/plain; name="' + b"\\" * 200_000 + b"\r\n\r\n",
    ],
    ids=[
        "delimiters",
        "prefixes",
        "empty",
        "dashes",
        "blanks",
        "cr",
        "bare",
        "fields",
        "parameters",
        "comments",
        "quotes",
    ],
)
def test_the_worst_messages_cost_no_memory_of_their_own(message: bytes):
    """What a scan keeps is bounded by parts and defects, not by what was sent: under a fifth of the message (PERF)."""
    body = MemoryBody(message)
    tracemalloc.start()
    try:
        found = scan(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.parts) <= MAX_PARTS
    assert len(found.defects) <= MAX_DEFECTS
    # the longest of them hold 256 kB of header twice as octets, and once as text
    assert peak < max(len(message) // 5, 2_500_000)
