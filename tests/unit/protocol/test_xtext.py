"""xtext (RFC 3461 section 4)."""

from __future__ import annotations

import pytest

from upesi.protocol.smtp.xtext import decode_xtext, encode_xtext


@pytest.mark.parametrize(
    ("text", "plain"), [("", ""), ("abc", "abc"), ("a+2Bb", "a+b"), ("a+3D+20", "a= "), ("+41", "A")]
)
def test_xtext_is_decoded(text: str, plain: str) -> None:
    """hexchar = "+" and two upper-case hexadecimal digits."""
    assert decode_xtext(text) == plain
    assert decode_xtext(encode_xtext(plain)) == plain


@pytest.mark.parametrize("text", ["a=b", "a b", "+4", "+4g", "+4a", "+", "é", "+0D+0A", "+00", "+FF", "\x7f"])
def test_what_is_no_xtext_is_refused(text: str) -> None:
    """Neither malformed xtext nor one that stands for control characters passes: both end in delivery reports."""
    with pytest.raises(ValueError):
        decode_xtext(text)


def test_only_printable_ascii_is_encoded() -> None:
    """What could not be decoded again is not written."""
    assert encode_xtext("a+b=c d") == "a+2Bb+3Dc+20d"
    with pytest.raises(ValueError):
        encode_xtext("é")
    with pytest.raises(ValueError):
        encode_xtext("\r\n")
