"""Message content as it goes on the wire: with DATA in transparent form (RFC 5321 section 4.5.2), with BDAT octet for octet (RFC 3030).

A bare CR or LF must not go out over DATA (RFC 5321 section 2.3.8): the next server may take it for a line end, and what stands behind
it for commands. Such content raises BareLineEnd, before or while it is sent; never after its end of data.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from upesi.mail.body import Body

__all__ = ["BareLineEnd", "framed", "framed_pieces"]

END_OF_DATA = b".\r\n"


class BareLineEnd(Exception):
    """The content has a CR or LF that is not part of CRLF."""


def framed(content: bytes) -> bytes:
    """Return `content` in transparent form with its end of data; raise BareLineEnd."""
    out = _stuffed(content, True)
    return out + (END_OF_DATA if not out or out.endswith(b"\r\n") else b"\r\n" + END_OF_DATA)


def framed_pieces(prefix: bytes, body: Body) -> Iterator[bytes]:
    """Yield what `framed` would return, in pieces of about the body's own; raise BareLineEnd on the way."""
    line_start = True
    carry = b""
    for piece in chain((prefix,), body.chunks()):
        if not piece:
            continue
        text = carry + piece
        # a CR at the very end waits for its LF, so that no CRLF is ever cut in two
        carry = b"\r" if text.endswith(b"\r") else b""
        if carry:
            text = text[:-1]
        if text:
            yield _stuffed(text, line_start)
            line_start = text.endswith(b"\r\n")
    if carry:
        raise BareLineEnd
    yield END_OF_DATA if line_start else b"\r\n" + END_OF_DATA


def _stuffed(text: bytes, line_start: bool) -> bytes:
    _check(text)
    out = text.replace(b"\r\n.", b"\r\n..")
    return b"." + out if line_start and out.startswith(b".") else out


def _check(content: bytes) -> None:
    lines = content.count(b"\r\n")
    if content.count(b"\n") != lines or content.count(b"\r") != lines:
        raise BareLineEnd
