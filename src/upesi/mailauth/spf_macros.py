"""Macro strings of SPF (RFC 7208 section 7): read once, expanded as often as mail comes.

    macro-expand  = ( "%{" macro-letter transformers *delimiter "}" ) / "%%" / "%_" / "%-"
    transformers  = *DIGIT [ "r" ]
    delimiter     = "." / "-" / "+" / "," / "/" / "_" / "="
    macro-literal = %x21-24 / %x26-7E    ; visible characters except "%"

What a stranger writes here becomes a name that we ask DNS for, or text in a reply: both are cut to what may stand there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec

__all__ = [
    "ESCAPES",
    "MAX_EXPLANATION",
    "Macro",
    "MacroString",
    "SpfSyntaxError",
    "macro_string",
    "name_from",
    "possible",
    "text_from",
]

# octets of a name in DNS, without its final dot (RFC 1035 section 2.3.4)
MAX_NAME = 253
_MAX_LABEL = 63
# Octets of an explanation in a reply: one line of 512 octets holds it with what we say ourselves (RFC 5321 section 4.5.3.1.5)
MAX_EXPLANATION = 400

# in a name; the rest have a meaning in an explanation only (section 7.2)
_NAME_LETTERS = frozenset("slodiphv")
_TEXT_LETTERS = _NAME_LETTERS | frozenset("crt")
_MOST_PARTS = 1000

_MACRO = r"%\{([A-Za-z])(\d*)([Rr]?)([.\-+,/_=]*)\}|%([%_\-])|"
_IN_NAME = re.compile(_MACRO + r"([!-$&-~]+)")
_IN_TEXT = re.compile(_MACRO + r"([ -$&-~]+)")
_PLAIN = {"%": "%", "_": " ", "-": "%20"}
# what only they can stand for: no literal holds a "%" or a blank in a name
ESCAPES = frozenset(_PLAIN.values())
_RESERVED = re.compile(rb"[^A-Za-z0-9\-._~]")
_UNSEEMLY = re.compile(r"[^ -~]")


class SpfSyntaxError(ValueError):
    """A record or an explanation that RFC 7208 does not allow; the text is for logs."""


class Macro(msgspec.Struct, frozen=True, gc=False):
    """One `%{...}`: which value, whether it is escaped for URLs, how many parts from the right (0: all), in which order, split where."""

    letter: str
    escaped: bool
    parts: int
    reverse: bool
    delimiters: str

    def of(self, value: str) -> str:
        """Return `value` as this macro shows it (section 7.3): whatever split it, a dot joins it."""
        if self.parts or self.reverse or self.delimiters:
            pieces = _split(value, self.delimiters or ".")
            if self.reverse:
                pieces.reverse()
            value = ".".join(pieces[-self.parts :])
        if not self.escaped:
            return value
        return _RESERVED.sub(lambda match: b"%%%02X" % match[0][0], value.encode(errors="replace")).decode("ascii")


MacroString = tuple[str | Macro, ...]


def macro_string(text: str, *, explanation: bool = False, letters: bool = False) -> MacroString:
    """Read a macro-string, or with `explanation` the text of one; raise SpfSyntaxError.

    `letters` says that those of explanations are allowed without being one: in a modifier that nobody knows.
    """
    token = _IN_TEXT if explanation else _IN_NAME
    allowed = _TEXT_LETTERS if explanation or letters else _NAME_LETTERS
    parts: list[str | Macro] = []
    at = 0
    while at < len(text):
        match = token.match(text, at)
        if match is None:
            raise SpfSyntaxError(f"no macro string: {_shown(text[at:])}")
        letter, digits, reverse, delimiters, plain, literal = match.groups()
        if letter:
            parts.append(_macro(letter, digits, reverse, delimiters, allowed))
        else:
            parts.append(literal or _PLAIN[plain])
        at = match.end()
    return tuple(parts)


def _macro(letter: str, digits: str, reverse: str, delimiters: str, allowed: frozenset[str]) -> Macro:
    lower = letter.lower()
    if lower not in allowed:
        raise SpfSyntaxError(f"no macro %{{{letter}}} here")
    wanted = digits.lstrip("0")
    if digits and not wanted:
        raise SpfSyntaxError(f"no part of %{{{letter}}} is asked for")
    # no value has as many parts; thousands of digits would be no number to Python
    parts = int(wanted) if 0 < len(wanted) <= 3 else _MOST_PARTS if wanted else 0
    return Macro(lower, letter != lower, parts, bool(reverse), delimiters)


def _split(value: str, delimiters: str) -> list[str]:
    first = delimiters[0]
    for other in delimiters[1:]:
        value = value.replace(other, first)
    return value.split(first)


def name_from(parts: MacroString, value: Callable[[str], str]) -> str | None:
    """Expand `parts` to a name that DNS can be asked for, None where it can hold no such name.

    A name that is too long loses labels on the left (section 7.3). A value beyond ASCII makes a name that there is not (RFC 8616
    section 4).
    """
    if len(parts) == 1 and type(parts[0]) is str:
        name = parts[0]
    else:
        pieces: list[str] = []
        size = 0
        # from the right, where what counts stands: a record of nothing but macros would fill megabytes
        for part in reversed(parts):
            piece = part if type(part) is str else part.of(value(part.letter))  # type: ignore[union-attr]
            pieces.append(piece)
            size += len(piece)
            if size > 2 * MAX_NAME:
                break
        name = "".join(reversed(pieces))
    name = name.removesuffix(".")
    while len(name) > MAX_NAME:
        _, dot, name = name.partition(".")
        if not dot:
            return None
    return name if possible(name) else None


def possible(name: str) -> bool:
    """Whether DNS can be asked for `name`: printable ASCII, no label empty or longer than 63 octets."""
    if not name or len(name) > MAX_NAME or _UNSEEMLY.search(name):
        return False
    return all(0 < len(label) <= _MAX_LABEL for label in name.split("."))


def text_from(parts: MacroString, value: Callable[[str], str]) -> str:
    """Expand an explanation to at most MAX_EXPLANATION characters, all of them printable ASCII: it goes into a reply."""
    pieces: list[str] = []
    size = 0
    for part in parts:
        piece = part if type(part) is str else part.of(value(part.letter))  # type: ignore[union-attr]
        pieces.append(piece)
        size += len(piece)
        if size > MAX_EXPLANATION:
            break
    return _UNSEEMLY.sub("?", "".join(pieces)[:MAX_EXPLANATION])


def _shown(text: str) -> str:
    return ascii(text[:40])
