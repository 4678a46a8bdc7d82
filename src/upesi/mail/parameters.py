"""Content-Type and Content-Disposition: a value and its parameters (RFC 2045 section 5.1, RFC 2183, RFC 2231), as real mail has them.

    content   := "Content-Type" ":" type "/" subtype *(";" parameter)
    parameter := attribute "=" value       ; value := token / quoted-string
    RFC 2231:    attribute*=charset'language'%XX..., attribute*0=..., attribute*1*=...

What does not follow this is read as most programs do, and noted as a fault (a kind of `mime_defects`). Nothing here raises; the time
is linear.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

import msgspec

from upesi.mail.charsets import decode
from upesi.mail.words import decode_words

__all__ = ["MAX_PARAMETERS", "Parametric", "parametric", "without_comments"]

# the longest honest ones have some ten; a name in pieces of RFC 2231 some thirty
MAX_PARAMETERS = 100

# a hundred pieces of 78 characters, and twice that again
_LONGEST = 16 * 1024

_SECTION = re.compile(r"([^*]*)(?:\*(\d{1,3}))?(\*?)")
_QUOTED = re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r'[\s()<>@,;:\\"/\[\]?=]')
# the end of a comment is found by walking over these
_COMMENT = re.compile(r"\\.|[()]", re.DOTALL)


class Parametric(msgspec.Struct, frozen=True):
    """A value in lower case, its parameters by their names in lower case, and what was wrong with them."""

    value: str
    parameters: dict[str, str]
    faults: frozenset[str]


def parametric(text: str) -> Parametric:
    """Read the value of a field."""
    faults: set[str] = set()
    if len(text) > _LONGEST:
        faults.add("too-many-parameters")
        text = text[:_LONGEST]
    text = _commentless(text, faults)
    value, _, rest = text.partition(";")
    pairs = _pairs(rest, faults)
    return Parametric(value.strip().lower(), _merged(pairs, faults), frozenset(faults))


def without_comments(text: str) -> str:
    """Return `text` with its comments (RFC 5322 section 3.2.2) replaced by blanks."""
    return _commentless(text, set())


def _commentless(text: str, faults: set[str]) -> str:
    """Replace comments by blanks; quoted strings stay, and so does a comment that never ends."""
    if "(" not in text:
        return text
    pieces: list[str] = []
    position = 0
    while position < len(text):
        found = _next(text, position, '"(')
        pieces.append(text[position:found])
        if found == len(text):
            break
        if text[found] == '"':
            match = _QUOTED.match(text, found + 1)
            end = (match.end() if match is not None else found) + 1
            pieces.append(text[found:end])
        else:
            end = _comment_end(text, found)
            if end < 0:
                pieces.append(text[found:])
                break
            faults.add("comment")
            pieces.append(" ")
        position = end
    return "".join(pieces)


def _next(text: str, position: int, characters: str) -> int:
    places = [place for place in (text.find(one, position) for one in characters) if place >= 0]
    return min(places, default=len(text))


def _comment_end(text: str, start: int) -> int:
    """Return the place behind the comment that begins at `start`, -1 where it has no end."""
    depth = 0
    for match in _COMMENT.finditer(text, start):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if not depth:
                return match.end()
    return -1


def _pairs(text: str, faults: set[str]) -> list[tuple[str, str]]:
    """Return names and values in their order."""
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        if len(pairs) >= MAX_PARAMETERS:
            faults.add("too-many-parameters")
            break
        equals = _next(text, position, "=;")
        name = text[position:equals].strip().lower()
        if equals == len(text) or text[equals] == ";":
            # a name without a value, or an empty one: nothing
            if name:
                faults.add("unquoted")
            position = equals + 1
            continue
        value, position = _value(text, equals + 1, faults)
        pairs.append((name, value))
    return pairs


def _value(text: str, position: int, faults: set[str]) -> tuple[str, int]:
    """Return the value at `position`, and the place behind the semicolon that ends it."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    if text[position : position + 1] != '"':
        end = _next(text, position, ";")
        value = text[position:end].strip()
        if _SPECIAL.search(value) is not None:
            faults.add("unquoted")
        return value, end + 1
    match = _QUOTED.match(text, position + 1)
    end = match.end() if match is not None else position + 1
    value = _ESCAPED.sub(r"\1", text[position + 1 : end])
    if end >= len(text):
        faults.add("unclosed-quote")
        return value, end
    semicolon = _next(text, end + 1, ";")
    if text[end + 1 : semicolon].strip():
        faults.add("unquoted")
    return value, semicolon + 1


def _merged(pairs: list[tuple[str, str]], faults: set[str]) -> dict[str, str]:
    """Return one value for each name: pieces put together, extended ones decoded; of two the first counts."""
    plain: dict[str, str] = {}
    pieces: dict[str, dict[int, tuple[str, bool]]] = {}
    for written, value in pairs:
        match = _SECTION.fullmatch(written)
        if match is None or not (match[2] or match[3]):
            if written in plain:
                faults.add("duplicate-parameter")
            plain.setdefault(written, value)
            continue
        sections = pieces.setdefault(match[1], {})
        number = int(match[2] or 0)
        if number in sections:
            faults.add("duplicate-parameter")
        sections.setdefault(number, (value, bool(match[3])))
    for name, sections in pieces.items():
        value = _joined(sections, faults)
        if name == "boundary":
            faults.add("extended-boundary")
        if name in plain and decode_words(plain[name]) != value:
            faults.add("two-names" if name in ("name", "filename") else "duplicate-parameter")
        plain[name] = value
    return plain


def _joined(sections: dict[int, tuple[str, bool]], faults: set[str]) -> str:
    """Put pieces together up to the first that is missing (RFC 2231 sections 3 and 4.1)."""
    charset = ""
    octets: list[bytes] = []
    for number in range(len(sections)):
        if number not in sections:
            faults.add("parameter-gap")
            break
        value, extended = sections[number]
        if extended and not number and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        octets.append(unquote_to_bytes(value) if extended else value.encode("utf-8", "replace"))
    return decode(b"".join(octets), charset)
