"""Encoded words, parameters, file names, dates and transfer encodings: what real and hostile mail has of them."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.charsets import codec_of, decode
from upesi.mail.dates import moment_of
from upesi.mail.filenames import safe_name
from upesi.mail.headers import Headers
from upesi.mail.parameters import MAX_PARAMETERS, parametric
from upesi.mail.transfer import decoded, decoder_for
from upesi.mail.words import decode_words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?gr=C3=B6=C3=9Fe?=", "größe"),
        ("=?ISO-8859-1?Q?a_b?= c", "a b c"),
        ("=?utf-8?B?w6Q=?=", "ä"),
        ("=?utf-8?b?w6Q?=", "ä"),
        ("a =?utf-8?q?b?=  =?utf-8?q?c?= d", "a bc d"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"),
        ("=?utf-8?q?=C3?= =?iso-8859-1?q?=A4?=", "\ufffd¤"),
        ("=?utf-8*en?q?a?=", "a"),
        ("=?utf-8?q?a b?=", "a b"),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?a", "=?utf-8?q?a"),
        ("=?nobody?q?=E4?=", "ä"),
        ("=?zlib?b?eJw=?=", "xœ"),
        ("=?utf-8?q?a=0D=0ABcc:_x=00?=", "a\ufffd\ufffdBcc: x\ufffd"),
        ("=?utf-8?b?=?=", ""),
        ("=?utf-8?b?A?=", ""),
        ("=?utf-8?b?====?=", ""),
    ],
)
def test_encoded_words_are_what_readers_are_shown(value: str, shown: str):
    """RFC 2047 section 6, and what mail has besides; nothing that is shown begins a line (MSG-08)."""
    assert decode_words(value) == shown


def test_a_field_is_decoded_on_demand():
    """`get` is what was written, `decoded` what is shown."""
    headers = Headers(b"Subject: =?utf-8?q?a?=\r\n =?utf-8?q?b?=\r\n\r\n")
    assert headers.get("subject") == "=?utf-8?q?a?= =?utf-8?q?b?="
    assert headers.decoded("subject") == "ab"
    assert headers.decoded("To") is None


@pytest.mark.parametrize(
    ("text", "value", "parameters", "faults"),
    [
        ("Text/Plain; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}, set()),
        ('a/b; n="x;\\"y"; m = z', "a/b", {"n": 'x;"y', "m": "z"}, set()),
        ("a/b; n=x; n=y", "a/b", {"n": "x"}, {"duplicate-parameter"}),
        ("a/b; n=x y.txt", "a/b", {"n": "x y.txt"}, {"unquoted"}),
        ('a/b; n="x', "a/b", {"n": "x"}, {"unclosed-quote"}),
        ('a/b; n="x"y; m=z', "a/b", {"n": "x", "m": "z"}, {"unquoted"}),
        ("a/b (c (d) ;x=y); n=x (e)", "a/b", {"n": "x"}, {"comment"}),
        ('a/b; n="x (y)"', "a/b", {"n": "x (y)"}, set()),
        ("a/b; n*=utf-8'en'%C3%A4%2Fb", "a/b", {"n": "ä/b"}, set()),
        ("a/b; n*=%41", "a/b", {"n": "A"}, set()),
        ("a/b; n*0*=utf-8''%C3; n*1*=%A4; n*2=%41", "a/b", {"n": "ä%41"}, set()),
        ("a/b; n*1=y; n*0=x", "a/b", {"n": "xy"}, set()),
        ("a/b; n*0=x; n*2=z", "a/b", {"n": "x"}, {"parameter-gap"}),
        ("a/b; n*99999999=x", "a/b", {"n*99999999": "x"}, set()),
        ("a/b; filename=x; filename*=utf-8''x", "a/b", {"filename": "x"}, set()),
        ("a/b; filename=x; filename*=utf-8''y", "a/b", {"filename": "y"}, {"two-names"}),
        ("a/b; boundary*0=x", "a/b", {"boundary": "x"}, {"extended-boundary"}),
        ("a/b;;; ;", "a/b", {}, set()),
        ("", "", {}, set()),
    ],
)
def test_parameters_are_read(text: str, value: str, parameters: dict[str, str], faults: set[str]):
    """MSG-07: RFC 2045, RFC 2231, and what mail has; what was wrong is said."""
    found = parametric(text)
    assert (found.value, found.parameters, found.faults) == (value, parameters, faults)


def test_parameters_are_bounded():
    """MSG-07: 5,000 of them, each a piece of one value."""
    found = parametric("a/b" + "".join(f"; n*{n}=x" for n in range(5000)))
    assert found.parameters == {"n": "x" * MAX_PARAMETERS}
    assert "too-many-parameters" in found.faults


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a.txt", "a.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\a.exe", "a.exe"),
        ("a\0.txt\r\n", "a.txt"),
        ("annexe\u202egpj.exe", "annexegpj.exe"),
        ("\u2066a\u200b.txt", "a.txt"),
        ("..", None),
        ("/", None),
        (" . ", None),
        ("a.txt. ", "a.txt"),
        ("größe.txt", "größe.txt"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("x" * 300, "x" * 255),
        ("a." + "x" * 300, "a." + "x" * 253),
        ("\ud800", None),
    ],
)
def test_file_names_are_made_safe(name: str, safe: str | None):
    """MSG-07: no path, no control character, none that turns the direction of writing; the ending stays."""
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 22 Nov 2026 10:16:17 +0000", 1795342577.0),
        ("Sun, 22 Nov 2026 11:16:17 +0100 (CET)", 1795342577.0),
        ("22 nov 2026 05:16:17 EST", 1795342577.0),
        ("22 Nov 26 10:16 GMT", 1795342560.0),
        ("Sun, 22 Nov 2026 10:16:60 +0000", 1795342619.0),
        ("1 Jan 70 00:00:00 Z", 0.0),
        ("Sun, 22 Nov 2026", None),
        ("Sun, 22 Foo 2026 10:16:17 +0000", None),
        ("Sun, 22 Nov 99999 10:16:17 +0000", None),
        ("Sun, 22 Nov 2026 10:16:17 +2500", None),
        ("x" * 300, None),
    ],
)
def test_dates_are_moments(text: str, moment: float | None):
    """RFC 5322 sections 3.3 and 4.3; MSG-10."""
    assert moment_of(text) == moment


def _through(encoding: str, data: bytes, size: int) -> tuple[bytes, set[str]]:
    decoder = decoder_for(encoding)
    assert decoder is not None
    out = b"".join(decoded((data[at : at + size] for at in range(0, len(data), size)), decoder))
    return out, decoder.faults


@given(st.binary(max_size=400), st.integers(1, 30))
def test_base64_comes_back_however_it_is_cut(data: bytes, size: int):
    """Pieces of any size come to the same."""
    assert _through("base64", base64.encodebytes(data).replace(b"\n", b"\r\n"), size) == (data, set())


@given(st.binary(max_size=400).map(lambda data: data.replace(b"\r", b"").replace(b"\n", b"\r\n")), st.integers(1, 30))
def test_quoted_printable_comes_back_however_it_is_cut(data: bytes, size: int):
    """Pieces of any size come to the same, soft line ends and all."""
    lines = [quopri.encodestring(line, quotetabs=True).replace(b"=\n", b"=\r\n") for line in data.split(b"\r\n")]
    assert _through("quoted-printable", b"\r\n".join(lines), size) == (data, set())


@pytest.mark.parametrize(
    ("encoding", "data", "content", "faults"),
    [
        ("base64", b"QUJ", b"AB", {"cut-off"}),
        ("base64", b"Q", b"", {"cut-off"}),
        ("base64", b"QUJD!QUJD", b"ABCABC", {"foreign-character"}),
        ("base64", b"QQ==\r\nQUI=\r\n", b"AAB", {"padding-inside"}),
        ("base64", b"QQ==QUJD", b"AABC", {"padding-inside"}),
        ("base64", b"====", b"", set()),
        ("quoted-printable", b"a=4", b"a=4", {"malformed"}),
        ("quoted-printable", b"a=ZZ", b"a=ZZ", {"malformed"}),
        ("quoted-printable", b"=\r\n" * 1000, b"", set()),
        ("quoted-printable", b"a=  \r\nb", b"ab", set()),
        ("x-uuencode", b"text\r\nbegin 644 a b\r\n#86)C\r\nend\r\nmore\r\n", b"abc", set()),
        ("x-uuencode", b"begin 644 a\r\n\xff\xff\r\n", b"", {"malformed", "cut-off"}),
        ("x-uuencode", b"none", b"", {"cut-off"}),
    ],
)
def test_broken_encodings_are_decoded_as_far_as_they_go(encoding: str, data: bytes, content: bytes, faults: set[str]):
    """MSG-08: best effort, never an exception, and what was broken is said."""
    assert _through(encoding, data, 10_000) == (content, faults)
    found, said = _through(encoding, data, 1)
    assert (found, said) == (content, faults)


def test_a_line_without_an_end_is_decoded_in_pieces():
    """MSG-05, MSG-08: 5 MB of quoted-printable on one line hold no more than a piece."""
    data = b"=41" * 1_500_000
    out, faults = _through("quoted-printable", data, 256 * 1024)
    assert out == b"A" * 1_500_000
    assert not faults


def test_every_charset_that_is_known_decodes_anything():
    """MSG-08, MSG-17: no octets make any of the codecs raise, and no name but those of charsets finds one."""
    known = "utf-8 UTF_16 iso-8859-15 ISO8859_15 windows-1252 cp1250 koi8-r gb2312 x-gbk hz-gb-2312 big5 iso-2022-jp"
    for name in known.split():
        assert codec_of(name) is not None, name
        for octets in (b"", b"\x80", b"\xff\xfe\xff", bytes(range(256)), b"\x1b$B\x1b", b"~{~"):
            assert isinstance(decode(octets, name), str)
    others = "zlib hex rot13 idna punycode unicode_escape raw_unicode_escape undefined mbcs .."
    for name in ("", "x" * 1000, *others.split()):
        assert codec_of(name) is None, name
