"""A small message is framed in one go as a streamed one is piece by piece."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.errors import UnsendableContent
from upesi.protocol.smtp.framing import stuffed, stuffed_whole

_WORDS = st.sampled_from([b"a", b".", b"..", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"\r", b"\n", b"\0", b"text"])
_BODY = st.lists(_WORDS, max_size=8).map(b"".join)
_PREFIX = st.lists(st.sampled_from([b"A: b\r\n", b".c: d\r\n", b"E: f\r\n g\r\n"]), max_size=3).map(b"".join)


def _streamed(*pieces: bytes) -> bytes | None:
    try:
        return b"".join(stuffed(pieces))
    except UnsendableContent:
        return None


def _whole(prefix: bytes, body: bytes) -> bytes | None:
    try:
        return b"".join(stuffed_whole(prefix, body, text=False))
    except UnsendableContent:
        return None


@given(_PREFIX, _BODY)
def test_whole_content_is_stuffed_as_a_stream_is(prefix: bytes, body: bytes) -> None:
    """RFC 5321 section 4.5.2: the same octets go out, or the same content is refused, whichever way it is framed (FRM-01)."""
    assert _whole(prefix, body) == _streamed(prefix, body)


@given(_PREFIX, _BODY)
def test_text_that_is_known_to_be_sendable_is_framed_alike(prefix: bytes, body: bytes) -> None:
    """Not looking at every octet again changes nothing about what goes out."""
    expected = _streamed(prefix, body)
    if expected is not None:
        assert b"".join(stuffed_whole(prefix, body, text=True)) == expected
