"""Canonicalization of DKIM and ARC: header fields, and bodies as they arrive (RFC 6376 section 3.4).

A body is fed in pieces of any size; how it is cut never shows in what comes out. What is held back between two pieces has
at most two octets and a count: a body of nothing but empty lines takes no memory.

Lines end with CRLF and nothing else. Blanks (WSP) are space and tab; the other white space of ASCII is text.

Most mail needs little change, so each piece is first asked, in compiled code, whether there is anything to do at all.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

__all__ = ["BodyCanonicalizer", "Canonicalization", "RelaxedBody", "SimpleBody", "relaxed_field", "relaxed_fields"]

_CRLF = b"\r\n"
# Runs of spaces shrink in each pass: the longest takes ten passes of compiled search, where an expression takes a step for each run
_RUNS = (b" " * 64, b" " * 8, b"  ")
# empty lines given out at once: a count of a hundred million, followed by one letter, must not make a string of that size
_LINES = 32 * 1024
_BETWEEN = b"\x00"


class Canonicalization(enum.Enum):
    """The two algorithms."""

    SIMPLE = "simple"
    RELAXED = "relaxed"


def relaxed_field(field: bytes) -> bytes:
    """Return a field, without its last CRLF, as `relaxed` has it (RFC 6376 section 3.4.2)."""
    name, _, value = field.partition(b":")
    return name.rstrip(b" \t").lower() + b":" + _one_space(value.replace(_CRLF, b"")).strip(b" ")


def relaxed_fields(names: list[bytes], values: list[bytes]) -> bytes:
    """Return fields as `relaxed` has them, with CRLF between them; `names` are in lower case, `values` are what stands behind the colons.

    A dozen cost as much as three of them one by one, since blanks are looked for in all of them at once.
    """
    folded = _one_space(_BETWEEN.join(values).replace(_CRLF, b""))
    parts = folded.strip(b" ").replace(b" \x00", _BETWEEN).replace(b"\x00 ", _BETWEEN).split(_BETWEEN)
    if len(parts) != len(values):
        # a NUL of their own
        parts = [_one_space(value.replace(_CRLF, b"")).strip(b" ") for value in values]
    return _CRLF.join([name + b":" + value for name, value in zip(names, parts, strict=True)])


def _one_space(text: bytes) -> bytes:
    """Return `text` with one space for each run of blanks."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    if b"  " in text:
        for run in _RUNS:
            while run in text:
                text = text.replace(run, b" ")
    return text


class BodyCanonicalizer:
    """What both algorithms do alike: hold back empty lines at the end, and hand on the rest to `write`.

    `write` gets the canonical body in pieces; `size` counts its octets.
    """

    __slots__ = ("_lines", "_tail", "_write", "size")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.size = 0
        self._write = write
        # CRLFs that count only if something follows, and up to two octets of a line end that may be coming
        self._lines = 0
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Take the next octets of the body."""
        if self._tail:
            data = self._tail + data
            self._tail = b""
        self._settle(self._changed(data))

    def finish(self) -> None:
        """End the body."""
        self._settle(self._last(self._tail))
        self._tail = b""
        if self.size or self._ends_empty():
            self._give(_CRLF)
        self._lines = 0

    def _changed(self, data: bytes) -> bytes:
        """Return `data` as it is handed on, and keep in `_tail` what the next octets may change."""
        raise NotImplementedError

    def _last(self, tail: bytes) -> bytes:
        """Return what of `tail` counts at the end of the body."""
        return tail

    def _ends_empty(self) -> bool:
        """Whether a body without content is a CRLF, and not nothing."""
        return False

    def _settle(self, data: bytes) -> None:
        """Hand on `data` up to the empty lines at its end; count those."""
        if not data:
            return
        text, lines = data, 0
        if data.endswith(_CRLF):
            text = data.rstrip(_CRLF)
            lines = (len(data) - len(text)) // 2
            # nearly always one line end; with several, or text that ends in CR, CR and LF must be looked at in pairs
            if len(data) - len(text) != len(_CRLF):
                text, lines = _trailing_lines(data, len(text))
        if not text:
            self._lines += lines
            return
        if self._lines:
            self._release()
        self.size += len(text)
        self._write(text)
        self._lines = lines

    def _release(self) -> None:
        """Hand on the empty lines that turned out to stand between others."""
        lines = self._lines
        while lines > 0:
            self._give(_CRLF * min(lines, _LINES))
            lines -= _LINES
        self._lines = 0

    def _give(self, data: bytes) -> None:
        self.size += len(data)
        self._write(data)


def _trailing_lines(data: bytes, start: int) -> tuple[bytes, int]:
    """Return `data` without the CRLFs at its end, and how many they are; from `start` on there are only CR and LF."""
    marked = data[start:].replace(_CRLF, b"\x00")
    kept = marked.rstrip(b"\x00")
    return data[:start] + kept.replace(b"\x00", _CRLF), len(marked) - len(kept)


class SimpleBody(BodyCanonicalizer):
    """`simple`: the body unchanged, but for empty lines at its end (RFC 6376 section 3.4.3)."""

    __slots__ = ()

    def _changed(self, data: bytes) -> bytes:
        if data.endswith(b"\r"):
            self._tail = b"\r"
            return data[:-1]
        return data

    def _ends_empty(self) -> bool:
        return True


class RelaxedBody(BodyCanonicalizer):
    """`relaxed`: blanks at the ends of lines go, others become one space (RFC 6376 section 3.4.4)."""

    __slots__ = ()

    def _changed(self, data: bytes) -> bytes:
        data = _one_space(data)
        if b" \r\n" in data:
            data = data.replace(b" \r\n", _CRLF)
        if data.endswith((b" ", b"\r")):
            return self._held_back(data)
        return data

    def _held_back(self, data: bytes) -> bytes:
        end = len(data)
        if data.endswith(b"\r"):
            end -= 1
        if data.endswith(b" ", 0, end):
            end -= 1
        self._tail = data[end:]
        return data[:end]

    def _last(self, tail: bytes) -> bytes:
        # the last line has no line end: blanks in front of where it would stand are blanks at the end of a line
        return b"" if tail == b" " else tail
