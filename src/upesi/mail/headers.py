"""The header section of a message as a view of its octets, and single fields made for its top (RFC 5322 sections 2.2 and 3.6.8).

    fields = *(field-name ":" unstructured CRLF)
    ftext  = %d33-57 / %d59-126          ; printable US-ASCII without ":"

Nothing is parsed before somebody asks. The first question to a section of the usual size notes where each field is, for those who ask
next; in a long one each question is a search, and nothing is kept. A line ends with CRLF and nothing else. A field's value comes back
unfolded; what it means is not this module's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from upesi.mail.body import Body
from upesi.mail.words import decode_words

__all__ = ["MAX_HEADER", "NO_HEADER", "Headers", "header_field"]

# Octets of a message that are looked at for header fields. The longest honest ones (lists of hundreds of recipients, dozens of
# trace fields) have some 100 kB; what lies beyond is not seen, and goes out as it came in.
MAX_HEADER: Final = 256 * 1024
# nearly every header section fits in here, so that a large message is not copied to see its first lines
_FIRST_READ: Final = 16 * 1024
# octets of a section of which the places of all fields are kept: at the worst, of nothing but "a:", half a megabyte
_NOTED: Final = 16 * 1024

# RFC 5322 section 2.1.1: a line has at most 998 octets and should have no more than 78
_MAX_LINE: Final = 998
_LINE: Final = 78
_MAX_NAME: Final = 76

# A message that begins so has no header section. A continuation continues nothing, and below a field of ours it would continue that one: a
# stranger could write the end of our Received or Authentication-Results field
NO_HEADER: Final = (b"\r\n", b" ", b"\t")
_FTEXT: Final = re.compile(r"[!-9;-~]+")
# obs-optional (RFC 5322 section 4.5): blanks may stand before the colon
_FIELD: Final = re.compile(rb"\r\n([!-9;-~]+)[ \t]*:")
# Whole lines that begin as a field or a continuation does. Each line can be read in one way: this is linear
_LINES: Final = re.compile(rb"(?:(?:[!-9;-~]+[ \t]*:|[ \t])[^\r]*(?:\r(?!\n)[^\r]*)*\r\n)*")
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


class Headers:
    """The header fields of one message. Names are compared without regard to case."""

    __slots__ = ("_places", "_section")

    def __init__(self, section: bytes) -> None:
        """`section` is the start of a message, with or without the body behind it."""
        section = section[:MAX_HEADER]
        end = _end_of(section)
        # with a line end in front every field looks alike, the first too
        self._section = b"\r\n" + section[:end]
        # by name in lower case, where fields begin (at the line end in front) and where their values do
        self._places: dict[bytes, list[tuple[int, int]]] | None = None

    @classmethod
    def of(cls, body: Body) -> Headers:
        """Read as much of `body` as its header section needs, at most MAX_HEADER octets."""
        start = body.read(0, _FIRST_READ)
        if len(start) == _FIRST_READ and _end_of(start) == _FIRST_READ:
            start += body.read(_FIRST_READ, MAX_HEADER - _FIRST_READ)
        return cls(start)

    def count(self, name: str) -> int:
        """Return how many fields have this name."""
        if self._places is not None:
            return len(self._places.get(name.lower().encode(), ()))
        # every message's Received fields are counted: 1 us this way, 5 us by expression
        lowered = self._section.lower()
        start = b"\r\n" + name.lower().encode()
        certain = lowered.count(start + b":")
        if lowered.count(start) == certain:
            return certain
        return sum(1 for _ in self._named(name))

    def get(self, name: str) -> str | None:
        """Return the value of the topmost field of this name, None where there is none."""
        for _, start in self._named(name):
            return self._value(start)
        return None

    def decoded(self, name: str) -> str | None:
        """Return the value of the topmost field of this name as readers are shown it: encoded words decoded (RFC 2047)."""
        value = self.get(name)
        return None if value is None else decode_words(value)

    def all(self, name: str) -> list[str]:
        """Return the values of all fields of this name, topmost first."""
        return [self._value(start) for _, start in self._named(name)]

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield every field's name and value, topmost first."""
        for match in _FIELD.finditer(self._section):
            yield match[1].decode("ascii"), self._value(match.end())

    def placed(self, name: str) -> list[tuple[str, tuple[int, int]]]:
        """Return value and place of all fields of this name, topmost first: from the name up to behind the last line end.

        One that goes on behind what is looked at has no end, and is left out.
        """
        found = ((self._value(start), self._span(before, start)) for before, start in self._named(name))
        return [(value, span) for value, span in found if span is not None]

    def _span(self, start: int, value: int) -> tuple[int, int] | None:
        # in the message: the line end in front, which the message has not, is as long as the one behind
        end = self._end(value)
        if end < 0:
            return (start, self.size) if self.size < MAX_HEADER else None
        return start, end

    @property
    def bottom(self) -> int:
        """Where a field can be put below the others: behind the last line that every reader takes for one of the section."""
        match = _LINES.match(self._section, 2)
        return match.end() - 2 if match is not None else 0

    @property
    def section(self) -> bytes:
        """What is looked at, with a line end in front, as each of its fields has one."""
        return self._section

    @property
    def size(self) -> int:
        """Octets of the section that are looked at."""
        return len(self._section) - 2

    def _named(self, name: str) -> Iterable[tuple[int, int]]:
        """Return of each field of this name where the line end in front of it is, and where its value begins."""
        places = self._places
        if places is None:
            if len(self._section) > _NOTED:
                found = re.finditer(rb"\r\n" + re.escape(name.encode()) + rb"[ \t]*:", self._section, re.IGNORECASE)
                return (match.span() for match in found)
            places = self._places = {}
            for match in _FIELD.finditer(self._section):
                places.setdefault(match[1].lower(), []).append(match.span())
        return places.get(name.lower().encode(), ())

    def _value(self, start: int) -> str:
        """Return the field body at `start`, unfolded: CRLF before a blank goes, the blank stays (RFC 5322 section 2.2.3)."""
        end = self._end(start)
        raw = self._section[start:] if end < 0 else self._section[start:end]
        return raw.replace(b"\r\n", b"").strip(b" \t").decode(errors="replace")

    def _end(self, start: int) -> int:
        """Return where the line end behind the field body at `start` begins, -1 where the section ends without."""
        section = self._section
        end = section.find(b"\r\n", start)
        while end >= 0 and section[end + 2 : end + 3] in (b" ", b"\t"):
            end = section.find(b"\r\n", end + 2)
        return end


def _end_of(section: bytes) -> int:
    """Return where the header section ends: behind the CRLF of its last field; everything where no empty line is found."""
    if section.startswith(NO_HEADER):
        return 0
    end = section.find(b"\r\n\r\n")
    return len(section) if end < 0 else end + 2


def header_field(name: str, value: str, *, utf8: bool = False) -> bytes:
    """Return `name: value` as lines with CRLF, folded at blanks; raise ValueError.

    A name that is no field-name, CR, LF, NUL or another control character, characters beyond ASCII without `utf8` (RFC 6532),
    and a word that no line can hold are refused: a value from outside must not begin a field of its own.
    """
    if not _FTEXT.fullmatch(name) or len(name) > _MAX_NAME:
        raise ValueError(f"{name[:_MAX_NAME]!r} is not the name of a header field")
    if _FORBIDDEN.search(value):
        raise ValueError(f"the value of {name} holds a control character")
    if not utf8 and not value.isascii():
        raise ValueError(f"the value of {name} is not ASCII, and the message is not SMTPUTF8")
    lines = [f"{name}:"]
    for word in value.strip(" \t").split(" "):
        # a line of blanks alone would be obsolete syntax, so only a word may open a line
        if word and len(lines[-1]) + 1 + len(word) > _LINE and lines[-1] != f"{name}:":
            lines.append(f" {word}")
        else:
            lines[-1] += f" {word}"
    wire = [line.encode() for line in lines]
    if any(len(line) > _MAX_LINE for line in wire):
        raise ValueError(f"the value of {name} has a word longer than a line")
    return b"\r\n".join(wire) + b"\r\n"
