"""The view of a message's header section: linear, bounded, and made of CRLF lines only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.body import MemoryBody
from upesi.mail.headers import MAX_HEADER, Headers, header_field

SAMPLE = (
    b"Received: from a\r\n\tby b;\r\n date\r\nreceived : from c\r\nReceived-SPF: pass\r\nSubject:  hello \r\n"
    b"X-Empty:\r\nX: a\nReceived: bare\r\n\r\nReceived: in the body\r\n"
)


def test_names_are_compared_without_case_and_whole():
    """Received is not Received-SPF; blanks before the colon are old syntax (RFC 5322 section 4.5); a bare LF begins no field."""
    headers = Headers(SAMPLE)
    assert headers.count("RECEIVED") == 2
    assert headers.count("Received-SPF") == 1
    assert headers.count("Receive") == 0
    assert headers.all("received") == ["from a\tby b; date", "from c"]


def test_values_are_unfolded_and_trimmed():
    """RFC 5322 section 2.2.3: CRLF before a blank goes, the blank stays."""
    headers = Headers(SAMPLE)
    assert headers.get("subject") == "hello"
    assert headers.get("x-empty") == ""
    assert headers.get("x") == "a\nReceived: bare"
    assert headers.get("y") is None
    assert [name for name, _ in headers.fields()] == ["Received", "received", "Received-SPF", "Subject", "X-Empty", "X"]


@pytest.mark.parametrize("content", [b"", b"\r\nSubject: body\r\n", b"\r\n\r\nSubject: body\r\n"])
def test_a_message_without_header_has_none(content: bytes):
    """What follows an empty line is body."""
    assert list(Headers(content).fields()) == []


def test_a_header_without_a_body_is_read_to_its_end():
    """No empty line: all of it is header."""
    assert Headers(b"Subject: last").get("Subject") == "last"


@pytest.mark.parametrize("size", [100, 16_000, 16_384, 20_000, 200_000])
def test_a_large_section_is_read_whole(size: int):
    """A section beyond the first read is found as well."""
    content = b"X-Long: " + b"x" * size + b"\r\nSubject: found\r\n\r\nSubject: body\r\n"
    assert Headers.of(MemoryBody(content)).get("Subject") == "found"


def test_beyond_the_bound_nothing_is_seen():
    """MAX_HEADER octets are looked at."""
    headers = Headers.of(MemoryBody(b"A: b\r\n" * MAX_HEADER))
    assert headers.size == MAX_HEADER
    assert headers.count("A") == MAX_HEADER // 6 + 1


class CountingBody:
    """Remembers how much was read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.taken = 0

    def read(self, start: int, length: int) -> bytes:
        piece = self.data[start : start + length]
        self.taken += len(piece)
        return piece

    def chunks(self) -> Iterator[bytes]:
        yield self.read(0, self.size)


def test_a_large_body_is_not_read_for_its_header():
    """Only the beginning is copied."""
    body = CountingBody(b"Subject: a\r\n\r\n" + b"x" * 1_000_000)
    assert Headers.of(body).get("Subject") == "a"
    assert body.taken <= 16 * 1024


VISIBLE = "".join(map(chr, range(33, 127)))
names = st.text(VISIBLE.replace(":", ""), min_size=1, max_size=20)
values = st.lists(st.text(VISIBLE, min_size=1, max_size=90), min_size=1, max_size=5).map(" ".join)


@given(st.lists(st.tuples(names, values), max_size=8))
def test_what_is_written_is_read_back(fields: list[tuple[str, str]]):
    """header_field and Headers are each other's inverse, and no line is longer than RFC 5322 section 2.1.1 allows."""
    section = b"".join(header_field(name, value) for name, value in fields)
    assert list(Headers(section + b"\r\nbody").fields()) == fields
    assert all(len(line) <= 998 for line in section.split(b"\r\n"))
    for name, _ in fields:
        assert Headers(section).count(name) == sum(1 for other, _ in fields if other.lower() == name.lower())


def test_long_values_are_folded():
    """Lines of 78 characters where there are blanks to fold at."""
    lines = header_field("X-List", " ".join(["word"] * 100)).split(b"\r\n")
    assert max(map(len, lines)) <= 78
    assert all(line.startswith(b" ") for line in lines[1:-1])


def test_utf8_only_where_the_message_may_carry_it():
    """RFC 6532 needs SMTPUTF8."""
    assert header_field("X-A", "ä", utf8=True) == "X-A: ä\r\n".encode()
    with pytest.raises(ValueError):
        header_field("X-A", "ä")


@given(st.binary(max_size=300))
def test_any_octets_are_read(content: bytes):
    """Nothing that a client sends raises here."""
    headers = Headers(content)
    assert headers.count("x") == len(headers.all("x"))
    for name, _ in headers.fields():
        assert headers.count(name) >= 1
