"""Message content on its way out by DATA: dots stuffed, CR LF and nothing else as line end (RFC 5321 sections 2.3.8 and 4.5.2).

Content with a bare CR, bare LF or NUL cannot go this way: the next server might see the end of data, or a line, where there is none
(SMTP smuggling). It is refused, not repaired: what we would repair was perhaps signed, and came in as BINARYMIME.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import IncrementalNewlineDecoder

from upesi.mail.errors import UpesiError

__all__ = ["UnsendableContent", "has_stray_newline", "is_text", "stuffed", "stuffed_whole"]


# what the decoder says of text with no line end at all, or CR LF only
_PAIRS = (None, "\r\n")


class UnsendableContent(UpesiError):
    """The message has octets that DATA cannot carry, and the next hop takes nothing else."""

    temporary = False
    status = "5.6.3"  # RFC 3463: conversion required but not supported


def has_stray_newline(piece: bytes) -> bool:
    """Whether a CR or LF stands alone in `piece`, which must not begin or end inside a CR LF.

    CPython's newline decoder notes in one pass over the octets which ends of lines it met: 50 kB 19 us, where taking the pairs out and
    looking at what is left takes 26 to 37, and counting 92 (4 kB: 3.2, 3.4, 14).
    """
    seen = IncrementalNewlineDecoder(None, translate=False)
    # Latin-1 gives every octet a character of its own, so nothing but CR and LF can be taken for a line end
    seen.decode(piece.decode("latin-1"), final=True)
    return seen.newlines not in _PAIRS


def _checked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same octets, cut so that no piece begins or ends inside a CR LF; raise UnsendableContent."""
    held = b""
    for chunk in chunks:
        piece = held + chunk if held else chunk
        if piece.endswith(b"\r"):
            held, piece = b"\r", piece[:-1]
        else:
            held = b""
        if not piece:
            continue
        if piece.find(0) >= 0 or has_stray_newline(piece):
            raise UnsendableContent("content has a bare CR, a bare LF or a NUL")
        yield piece
    if held:
        raise UnsendableContent("content ends with a bare CR")


def is_text(chunks: Iterable[bytes]) -> bool:
    """Whether `stuffed` could send these octets; for those who must know before the first one is out."""
    try:
        for _ in _checked(chunks):
            pass
    except UnsendableContent:
        return False
    return True


def stuffed_whole(prefix: bytes, body: bytes, *, text: bool) -> list[bytes]:
    """Return what `stuffed` would yield for content that is all here, as pieces to be joined; `prefix` is empty or ends with CR LF.

    With `text`, the body is known to be sendable: 4 kB are not looked at for another 3 us, 50 kB for 30. Raise UnsendableContent.
    """
    pieces: list[bytes] = []
    for piece, known in ((prefix, False), (body, text)):
        if not known and (piece.find(0) >= 0 or has_stray_newline(piece)):
            raise UnsendableContent("content has a bare CR, a bare LF or a NUL")
        if piece.startswith(b"."):
            pieces.append(b".")
        pieces.append(piece.replace(b"\r\n.", b"\r\n..") if b"\r\n." in piece else piece)
    pieces.append(b".\r\n" if (body or prefix or b"\n").endswith(b"\n") else b"\r\n.\r\n")
    return pieces


def stuffed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the octets to write for message content, its end included.

    A final CR LF is added where it is missing. The end of data comes in one piece with the last of the content, so that a small message
    is one write.

    Raises:
        UnsendableContent: at the chunk where the fault is. What was yielded before is out; the connection must be dropped.
    """
    waiting = b""
    line_start = True
    for piece in _checked(chunks):
        if waiting:
            yield waiting
        waiting = piece.replace(b"\r\n.", b"\r\n..") if b"\r\n." in piece else piece
        if line_start and piece.startswith(b"."):
            waiting = b"." + waiting
        line_start = piece.endswith(b"\n")
    yield waiting + (b".\r\n" if line_start else b"\r\n.\r\n")
