"""Reads Authentication-Results that others wrote, and finds those that claim to be ours (RFC 8601 sections 2.2 and 5).

Reading is tolerant and bounded: CFWS wherever the grammar has it, values of any visible characters. Whether a field claims to be ours is
asked less kindly, since the question is what the most careless program behind us would take for ours.
"""

from __future__ import annotations

import re

import msgspec

from upesi.mail.address import AddressError, domain_from
from upesi.mailauth.results import MethodResult

__all__ = ["MAX_FIELD", "AuthresError", "AuthresField", "authserv_id", "claims_to_be", "comparable", "read_authres"]

# Characters of a field, and results in it; those of real servers have some hundreds, and ten
MAX_FIELD = 16_384
MAX_READ = 100
# what is looked at for a claim: an id that stands further behind is no program's
_HEAD = 2000

_BLANK = re.compile(r"[ \t\r\n]*")
_IN_COMMENT = re.compile(r"[^()\\]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ID = re.compile(r'[^ \t\r\n;()"]+')
_NAME = re.compile(r"[A-Za-z0-9_\-]+")
_VALUE = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^ \t\r\n;()"])+', re.DOTALL)
_PLAIN = re.compile(r"[ \t\r\n]*([A-Za-z0-9.\-]{1,255})[ \t]*;")
_NUMBER = re.compile(r"[0-9]+")
_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NOISE = re.compile(r'[ \t\r\n"\\]')
_VERSION = re.compile(r"[/0-9]*$")
_WORDS = re.compile(r"[^\s\"\\()<>,;:/=?@*'\[\]]+")


class AuthresError(ValueError):
    """Text that is no payload of the field."""


class AuthresField(msgspec.Struct, frozen=True):
    """One field: whose it is, and what it says."""

    authserv_id: str
    results: tuple[MethodResult, ...]


class _Cursor:
    """A place in a field's value."""

    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def blank(self) -> None:
        """Go past CFWS; comments nest, and are counted and not recursed into."""
        depth = 0
        while True:
            self.take(_BLANK if depth == 0 else _IN_COMMENT)
            char = self.text[self.at : self.at + 1]
            if char == "(":
                depth += 1
            elif char == ")" and depth:
                depth -= 1
            elif char == "\\" and depth:
                self.at += 1
            elif depth:
                raise AuthresError("a comment has no end")
            else:
                return
            self.at += 1

    def take(self, pattern: re.Pattern[str]) -> str:
        """Go past what `pattern` matches here, and return it; "" where it does not."""
        match = pattern.match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def sign(self, sign: str) -> bool:
        """Go past `sign` with the CFWS on both sides, if it is next."""
        before = self.at
        self.blank()
        if self.text[self.at : self.at + 1] != sign:
            self.at = before
            return False
        self.at += 1
        self.blank()
        return True

    def need(self, sign: str) -> None:
        """Go past `sign`; raise AuthresError if it is not next."""
        if not self.sign(sign):
            raise AuthresError(f"{sign} is missing")

    def name(self) -> str:
        """Return a keyword in lower case; raise AuthresError if there is none."""
        found = self.take(_NAME)
        if not found:
            raise AuthresError("a name is missing")
        return found.lower()

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.text)


def read_authres(value: str) -> AuthresField:
    """Read the value of a field, folded or not; raise AuthresError."""
    if len(value) > MAX_FIELD:
        raise AuthresError(f"the field is longer than {MAX_FIELD} characters")
    cursor = _Cursor(value)
    name = _authserv_id(cursor)
    cursor.blank()
    cursor.take(_NUMBER)
    results: list[MethodResult] = []
    while cursor.sign(";"):
        if cursor.ended:
            break
        found = _resinfo(cursor)
        if found is not None:
            results.append(found)
        if len(results) > MAX_READ:
            raise AuthresError(f"the field has more than {MAX_READ} results")
    cursor.blank()
    if not cursor.ended:
        raise AuthresError("something stands behind the results")
    return AuthresField(name, tuple(results))


def authserv_id(value: str) -> str:
    """Return the id that a field begins with; raise AuthresError."""
    return _authserv_id(_Cursor(value[:MAX_FIELD]))


def _authserv_id(cursor: _Cursor) -> str:
    cursor.blank()
    quoted = cursor.take(_QUOTED)
    name = _plain(quoted) if quoted else cursor.take(_ID)
    if not name:
        raise AuthresError("there is no authserv-id")
    return name


def _resinfo(cursor: _Cursor) -> MethodResult | None:
    method = cursor.name()
    if cursor.sign("/"):
        cursor.take(_NUMBER)
    if not cursor.sign("="):
        if method == "none":
            return None
        raise AuthresError("= is missing")
    result = cursor.name()
    reason = ""
    properties: list[tuple[str, str]] = []
    cursor.blank()
    while not cursor.ended and cursor.text[cursor.at] != ";":
        kind = cursor.name()
        if kind == "reason" and cursor.sign("="):
            reason = _value(cursor)
        else:
            cursor.need(".")
            item = cursor.name()
            cursor.need("=")
            properties.append((f"{kind}.{item}", _value(cursor)))
        cursor.blank()
    return MethodResult(method, result, reason, tuple(properties))


def _value(cursor: _Cursor) -> str:
    found = cursor.take(_VALUE)
    if not found:
        raise AuthresError("a value is missing")
    return _QUOTED.sub(lambda match: _PAIR.sub(r"\1", match[1]), found) if '"' in found else found


def _plain(quoted: str) -> str:
    return _PAIR.sub(r"\1", quoted[1:-1])


def comparable(name: str) -> str:
    """Return a host's name as it is compared: lower case, A-labels, no final dot."""
    name = name.strip().removesuffix(".").lower()
    try:
        return domain_from(name)
    except AddressError:
        return name


def claims_to_be(value: str, names: frozenset[str]) -> bool:
    """Whether a program behind us could take this field for one of `names` (each `comparable`).

    Besides the id as the grammar has it: a name with comments, quotes or blanks inside, one that stands anywhere in front of the first
    semicolon, an encoded-word there, which nobody honest writes and some programs decode, and no name at all.
    """
    plain = _PLAIN.match(value)
    if plain is not None:
        # nearly all fields: 1 us and not 15
        name = plain[1].lower().removesuffix(".")
        return name in names or _VERSION.sub("", name) in names
    value = value[:_HEAD]
    try:
        if comparable(authserv_id(value)) in names:
            return True
    except AuthresError:
        pass
    head = value.partition(";")[0]
    if "=?" in head:
        return True
    squeezed = _NOISE.sub("", _uncommented(value).partition(";")[0])
    if not squeezed:
        # in nobody's name, or in one behind more comments than anybody honest writes: a program that looks for results alone believes it
        return bool(value.strip())
    candidates = {squeezed, _VERSION.sub("", squeezed), *_WORDS.findall(head)}
    return any(comparable(candidate) in names for candidate in candidates)


def _uncommented(text: str) -> str:
    """Return `text` without what is in round brackets; an open one takes the rest."""
    kept: list[str] = []
    depth = 0
    for piece in re.split(r"([()])", text):
        if piece == "(":
            depth += 1
        elif piece == ")":
            depth = max(0, depth - 1)
        elif not depth:
            kept.append(piece)
    return "".join(kept)
