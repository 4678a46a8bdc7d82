"""Transfer encodings decoded piece by piece (RFC 2045 section 6): base64, quoted-printable, uuencode, and those that change nothing.

Decoders never raise: what is broken is decoded as far as it goes and leaves a word in `faults`. They hold less than a line, or one
piece where lines have no end.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64, a2b_qp, a2b_uu
from collections.abc import Iterable, Iterator
from typing import Protocol

__all__ = ["IDENTITIES", "Decoder", "decoded", "decoder_for"]

IDENTITIES = frozenset(("7bit", "8bit", "binary"))

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_FOREIGN = bytes(set(range(256)) - set(_ALPHABET))
_BLANKS = b" \t\r\n"
_GROUP = re.compile(rb"([^=]*)(=*)")
# Padding in the midst: pieces put one behind the other, each decoded on its own. Each costs a call, so there is a bound
_MOST_GROUPS = 10_000
_MALFORMED = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*\r?\n)")
_PADDED_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
_PADDED_BREAK = re.compile(rb"=[ \t]+(?=\r?\n)")
# a line without an end is decoded in pieces of this size
_LONGEST_LINE = 64 * 1024
_BEGIN = re.compile(rb"begin [0-7]{3,4} ")


class Decoder(Protocol):
    """Takes encoded octets and gives decoded ones; `faults` says what was broken."""

    faults: set[str]

    def feed(self, data: bytes) -> bytes:
        """Take some octets; return what can be decoded so far."""
        ...

    def finish(self) -> bytes:
        """Return the rest."""
        ...


class _Identity:
    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults: set[str] = set()

    def feed(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Base64:
    __slots__ = ("_groups", "_rest", "faults")

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self._rest = b""
        self._groups = 0

    def feed(self, data: bytes) -> bytes:
        clean = data.translate(None, _FOREIGN)
        if len(clean) + sum(map(data.count, (b"\r", b"\n", b" ", b"\t"))) != len(data):
            self.faults.add("foreign-character")
        if self._groups and clean.strip(b"="):
            self.faults.add("padding-inside")
        if self._groups and clean.strip(b"="):
            self.faults.add("padding-inside")
        clean = self._rest + clean
        if b"=" in clean:
            return self._padded(clean)
        whole = len(clean) & ~3
        self._rest = clean[whole:]
        return a2b_base64(clean[:whole])

    def _padded(self, clean: bytes) -> bytes:
        """Decode what has padding inside; the piece behind the last padding waits for more."""
        found: list[bytes] = []
        # padding goes on in the next piece perhaps; it is then a group of nothing
        cut = clean.rindex(b"=") + 1
        for match in _GROUP.finditer(clean, 0, cut):
            if not match[1]:
                continue
            self._groups += 1
            if self._groups > _MOST_GROUPS:
                self.faults.add("too-many-paddings")
                break
            found.append(self._group(match[1]))
        self._rest = clean[cut:]
        if self._groups > 1 or (self._rest and self._groups):
            self.faults.add("padding-inside")
        return b"".join(found)

    def _group(self, characters: bytes) -> bytes:
        if len(characters) % 4 == 1:
            self.faults.add("cut-off")
            characters = characters[:-1]
        try:
            return a2b_base64(characters + b"==="[: -len(characters) % 4])
        except Error:
            self.faults.add("cut-off")
            return b""

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        if len(rest) % 4:
            self.faults.add("cut-off")
        return self._group(rest) if rest else b""


class _QuotedPrintable:
    __slots__ = ("_rest", "faults")

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > _LONGEST_LINE:
            # not within "=", "=4" or "= \t \r\n"
            cut = max(data.rfind(b"=", -_LONGEST_LINE), 0) or len(data)
        self._rest = data[cut:]
        return self._decode(data[:cut])

    def _decode(self, data: bytes) -> bytes:
        if "malformed" not in self.faults and _MALFORMED.search(data) is not None:
            self.faults.add("malformed")
        if b"= " in data or b"=\t" in data:
            # RFC 2045 section 6.7, rule 3: blanks at the end of a line came on the way
            data = _PADDED_BREAK.sub(b"=", data)
        if b"= " in data or b"=\t" in data:
            # RFC 2045 section 6.7, rule 3: blanks at the end of a line came on the way
            data = _PADDED_BREAK.sub(b"=", data)
        return a2b_qp(data)

    def finish(self) -> bytes:
        rest, self._rest = self._rest, b""
        return self._decode(rest) if rest else b""


class _Uuencode:
    __slots__ = ("_ended", "_inside", "_rest", "faults")

    def __init__(self) -> None:
        self.faults: set[str] = set()
        self._rest = b""
        self._inside = self._ended = False

    def feed(self, data: bytes) -> bytes:
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > _LONGEST_LINE:
            self.faults.add("malformed")
            data = b""
        self._rest = data[cut:]
        return b"".join(self._line(line.rstrip(b"\r")) for line in data[:cut].split(b"\n")[:-1])

    def _line(self, line: bytes) -> bytes:
        if not self._inside:
            self._inside = not self._ended and _BEGIN.match(line) is not None
            return b""
        if line == b"end":
            self._inside, self._ended = False, True
            return b""
        try:
            return a2b_uu(line)
        except Error:
            self.faults.add("malformed")
            return b""

    def finish(self) -> bytes:
        found = self._line(self._rest) if self._rest else b""
        if not self._ended:
            self.faults.add("cut-off")
        return found


_DECODERS: dict[str, type[_Base64] | type[_QuotedPrintable] | type[_Uuencode]] = {
    "base64": _Base64,
    "quoted-printable": _QuotedPrintable,
    "x-uuencode": _Uuencode,
    "uuencode": _Uuencode,
    "x-uue": _Uuencode,
}


def decoder_for(encoding: str) -> Decoder | None:
    """Return a new decoder for a Content-Transfer-Encoding in lower case, None where there is no such encoding."""
    if encoding in IDENTITIES:
        return _Identity()
    made = _DECODERS.get(encoding)
    return None if made is None else made()


def decoded(pieces: Iterable[bytes], decoder: Decoder) -> Iterator[bytes]:
    """Yield what `decoder` makes of `pieces`; never an empty piece."""
    for piece in pieces:
        out = decoder.feed(piece)
        if out:
            yield out
    out = decoder.finish()
    if out:
        yield out
