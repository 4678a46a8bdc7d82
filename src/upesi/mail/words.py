"""Encoded words in header fields (RFC 2047): `=?charset?encoding?text?=` as the text that a reader is shown.

    encoded-word = "=?" charset "?" encoding "?" encoded-text "?="

Tolerant as readers are: words longer than 75 characters, blanks inside, characters that are cut between two words, words where no
word may stand. Nothing here raises; control characters become U+FFFD, so that what is shown cannot begin a line.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp

from upesi.mail.charsets import decode

__all__ = ["decode_words"]

# each part ends at the next "?": the time is linear
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([BbQq])\?([^?]*)\?=")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x80-\x9f\u2028\u2029]")
_PADDING = "==="
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


def decode_words(value: str) -> str:
    """Return a field's value with its encoded words decoded."""
    if "=?" not in value:
        return _CONTROLS.sub("\ufffd", value)
    return _CONTROLS.sub("\ufffd", "".join(_pieces(value)))


def _pieces(value: str) -> list[str]:
    pieces: list[str] = []
    # octets of neighbours in one charset: a character may be cut between them
    pending: list[bytes] = []
    charset = ""
    end = 0
    for match in _WORD.finditer(value):
        # RFC 2047 section 6.2: blanks between two encoded words are not shown
        between = value[end : match.start()]
        joined = bool(pending) and not between.strip(" \t\r\n")
        # RFC 2231 section 5: a language may stand behind the charset
        named = match[1].partition("*")[0].lower()
        if pending and not (joined and named == charset):
            pieces.append(decode(b"".join(pending), charset))
            pending.clear()
        if not joined:
            pieces.append(between)
        pending.append(_octets(match[2], match[3]))
        charset, end = named, match.end()
    if pending:
        pieces.append(decode(b"".join(pending), charset))
    pieces.append(value[end:])
    return pieces


def _octets(encoding: str, text: str) -> bytes:
    if encoding in "Qq":
        return a2b_qp(text.encode("utf-8", "replace"), header=True)
    text = _NOT_BASE64.sub("", text)
    # one character alone is less than an octet
    text = text[:-1] if len(text) % 4 == 1 else text
    try:
        return a2b_base64(text + _PADDING[: -len(text) % 4])
    except Error:
        return text.encode()
