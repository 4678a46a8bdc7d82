"""Parts removed, replaced and with text added; all others octet for octet."""

from __future__ import annotations

import pytest

from upesi.mail.body import MemoryBody
from upesi.mail.edits import Edits
from upesi.mail.mime import Mime
from upesi.mail.mime_edits import PartEdits
from upesi.mail.mime_scan import scan

_MIXED = b'From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n'
_PICTURE = b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"


class Changed:
    """One message, its parts, and what its edits make of it."""

    def __init__(self, message: bytes) -> None:
        self.body = MemoryBody(message)
        self.edits = Edits()
        self.mime = scan(self.body)
        self.parts = PartEdits(self.body, self.mime, self.edits)

    def add(self, plain: str = "Footer", html: str = "<p>Footer</p>") -> list[str]:
        return self.parts.add_text(plain, html, "new")

    @property
    def octets(self) -> bytes:
        return b"".join(self.edits.view(self.body).chunks())

    @property
    def result(self) -> Mime:
        return scan(MemoryBody(self.octets))

    def part(self, path: str):  # type: ignore[no-untyped-def]
        found = self.mime.part(path)
        assert found is not None
        return found


def texts(mime: Mime) -> list[tuple[str, str]]:
    """Return path and text of all parts that have no parts."""
    return [(part.path, part.text()) for part in mime.parts if not part.parts]


def test_a_part_is_removed_with_its_delimiter():
    """What is left is octet for octet what was there, and a whole message."""
    one, two = b"--b\r\n\r\none\r\n", b"--b\r\n\r\ntwo\r\n"
    for path, left in (("1", two + _PICTURE), ("2", one + _PICTURE), ("3", one + two)):
        changed = Changed(_MIXED + one + two + _PICTURE + b"--b--\r\nepilogue\r\n")
        changed.parts.remove(changed.part(path))
        assert changed.octets == _MIXED + left + b"--b--\r\nepilogue\r\n"
        assert not changed.result.defects


def test_the_last_part_leaves_an_empty_text():
    """A multipart without parts is none."""
    changed = Changed(_MIXED + b"--b\r\n\r\none\r\n" + _PICTURE + b"--b--\r\n")
    changed.parts.remove(changed.part("2"))
    changed.parts.remove(changed.part("1"))
    assert texts(changed.result) == [("1", "")]
    assert not changed.result.defects


def test_a_part_is_replaced_in_its_place():
    """Its other fields stay, and all other parts do."""
    message = (
        _MIXED + b"--b\r\n\r\none\r\n" + _PICTURE.replace(b"\r\n\r\n", b"\r\nContent-ID: <x>\r\n\r\n") + b"--b--\r\n"
    )
    changed = Changed(message)
    changed.parts.replace(changed.part("2"), "Removed: ä\n".encode(), "text/plain; charset=utf-8")
    assert texts(changed.result) == [("1", "one"), ("2", "Removed: ä\n")]
    assert changed.result.parts[2].headers.get("Content-ID") == "<x>"
    assert changed.octets.startswith(_MIXED + b"--b\r\n\r\none\r\n--b\r\n")
    assert not changed.result.defects


def test_the_message_itself_can_be_replaced_and_not_removed():
    """A message of one part."""
    changed = Changed(b"Subject: s\r\n\r\nbody\r\n")
    with pytest.raises(ValueError):
        changed.parts.remove(changed.mime.root)
    changed.parts.replace(changed.mime.root, b"<b>", "text/html")
    assert (changed.result.root.content_type, changed.result.root.text()) == ("text/html", "<b>")
    assert changed.result.root.headers.count("MIME-Version") == 1


def test_text_is_added_to_text_and_html():
    """Both alternatives say the same; HTML gets it where its visible part ends."""
    message = (
        _MIXED + b"--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\n\r\none\r\n"
        b"--c\r\nContent-Type: text/html\r\n\r\n<html><body>one</BODY></html>\r\n\r\n--c--\r\n"
        + _PICTURE
        + b"--b--\r\n"
    )
    changed = Changed(message)
    assert changed.add(html="<p>Größe</p>") == ["1.1", "1.2"]
    expected = message.replace(b"\r\none\r\n", b"\r\none\r\nFooter\r\n\r\n").replace(
        b"</BODY>", b"<p>Gr&#246;&#223;e</p></BODY>"
    )
    assert changed.octets == expected
    assert not changed.result.defects


@pytest.mark.parametrize(
    ("head", "content", "addition", "text"),
    [
        (b"", b"one\r\n", "two", "one\r\ntwo\r\n"),
        (b"", b"one", "two", "one\r\ntwo\r\n"),
        (b"", b"", "two", "two\r\n"),
        (b"", b"one\r\n", "größe", "one\r\ngröße\r\n"),
        (b"", "ä\r\n".encode(), "größe", "ä\r\ngröße\r\n"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n", b"\xe4\r\n", "ö", "ä\r\nö\r\n"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n", b"\xe4\r\n", "€", "ä\r\n€\r\n"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n", b"\xe4\r\n", "中", "ä\r\n中\r\n"),
        (b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n", b"w6QK\r\n", "ö", "ä\nö\r\n"),
        (b"Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n", b"//5hAA==\r\n", "ö", "a\r\nö\r\n"),
        (b"Content-Transfer-Encoding: quoted-printable\r\n", b"one=\r\n", "two = 2", "one\r\ntwo = 2\r\n"),
        (b"Content-Transfer-Encoding: quoted-printable\r\n", b"one=20\r\n=3D\r\n", "two", "one \r\n=\r\ntwo\r\n"),
        (b"", b"one\r\n", "x" * 2000, "one\r\n" + "x" * 2000 + "\r\n"),
        (b"Content-Type: text/plain; format=flowed\r\n", b"one \r\n", "> no quote\nand \n-- ", "one \r\n > no quote\r\nand\r\n-- \r\n"),
    ],
)  # fmt: skip
def test_text_is_added_as_the_part_is_encoded(head: bytes, content: bytes, addition: str, text: str):
    """In its charset and transfer encoding, or as UTF-8 in quoted-printable where these cannot hold it; twice as once."""
    changed = Changed(b"From: a@example.com\r\n" + head + b"\r\n" + content)
    assert changed.add(addition) == [""]
    assert changed.result.root.text() == text
    assert max(map(len, changed.octets.split(b"\r\n"))) <= 998
    assert changed.add("again") == [""]
    result = changed.result
    assert result.root.text() == text + "again\r\n"
    assert not {defect.kind for defect in result.ambiguous}
    # what came in as ASCII may go to servers that take nothing else
    assert changed.octets.isascii() or not content.isascii()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Type: multipart/signed; boundary=b; protocol=x\r\n",
        b"Content-Type: multipart/encrypted; boundary=b; protocol=x\r\n",
        b"Content-Type: application/pkcs7-mime; smime-type=signed-data; boundary=b\r\n",
    ],
)
def test_what_is_signed_or_encrypted_is_never_touched(head: bytes):
    """RFC 1847: not by a banner, and not by a plugin that asks for it."""
    message = b"MIME-Version: 1.0\r\n" + head + b"\r\n--b\r\n\r\none\r\n" + _PICTURE + b"--b--\r\n"
    changed = Changed(message)
    assert changed.add() == []
    for part in changed.mime.parts:
        with pytest.raises(ValueError):
            changed.parts.replace(part, b"", "text/plain")
        with pytest.raises(ValueError):
            changed.parts.remove(part)
    assert changed.octets == message


def test_a_message_that_shows_no_text_gets_a_part():
    """As the last of a multipart/mixed, twice if asked twice."""
    changed = Changed(_MIXED + _PICTURE + b"--b--\r\nepilogue\r\n")
    assert changed.add("größe") == [""]
    assert changed.add("again") == [""]
    assert texts(changed.result)[1:] == [("2", "größe\r\n"), ("3", "again\r\n")]
    assert changed.octets.startswith(_MIXED + _PICTURE.rstrip())
    assert not changed.result.defects


def test_a_message_that_is_no_multipart_becomes_one_for_text():
    """The content goes with its own fields, octet for octet; the others stay where they are."""
    message = (
        b"From: a@example.com\r\nContent-Type: image/png;\r\n\tname=a.png\r\nSubject: s\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\niVBO\r\n"
    )
    changed = Changed(message)
    assert changed.add("one") == [""]
    assert changed.add("two") == [""]
    result = changed.result
    assert [(part.path, part.content_type) for part in result.parts] == [
        ("", "multipart/mixed"), ("1", "image/png"), ("2", "text/plain"), ("3", "text/plain"),
    ]  # fmt: skip
    assert texts(result)[1:] == [("2", "one\r\n"), ("3", "two\r\n")]
    assert result.parts[1].filename == "a.png"
    assert b"".join(result.parts[1].raw()) == b"iVBO\r\n"
    assert not result.defects
    assert changed.octets.startswith(b"From: a@example.com\r\nSubject: s\r\nContent-Type: multipart/mixed")


def test_text_that_cannot_be_read_is_left_alone():
    """Another charset than it says, an unknown one, one encoded nobody knows how, too much of it."""
    for message in (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + b"x" * 1_100_000,
        b"Content-Type: text/plain; charset=x-no\r\n\r\nx",
        b"Content-Transfer-Encoding: x-no\r\n\r\nx",
        b"Subject: no empty line\r\n",
    ):
        changed = Changed(message)
        assert changed.add() == []
        assert changed.octets == message


def test_a_part_that_was_removed_gets_no_text():
    """The next text does."""
    changed = Changed(_MIXED + b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n")
    changed.parts.remove(changed.part("1"))
    assert changed.add() == ["2"]
    assert texts(changed.result) == [("1", "two\r\nFooter\r\n")]


@pytest.mark.parametrize("piece", [b"<a href=x>", b"<table>", b"<", b"</body", b"</body >", b"<!--", b"&"])
def test_html_of_any_kind_takes_a_banner(piece: bytes):
    """MSG-14: a million links, nested tables, tags without an end: only the last 4 kB are looked at, and nothing is parsed."""
    content = piece * (900_000 // len(piece))
    changed = Changed(b"Content-Type: text/html\r\n\r\n" + content + b"</body></html>\r\n")
    assert changed.add() == [""]
    text = changed.result.root.content(10**7)
    assert text.count(b"<p>Footer</p>") == 1
    assert text.replace(b"<p>Footer</p>", b"") == content + b"</body></html>\r\n"
