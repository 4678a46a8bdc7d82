"""Whose name a message bears: the author domains of the From field, or why that cannot be said (RFC 9989 section 11.5, MSG-03).

DMARC protects what a reader sees, so what two readers would read differently must not pass. Mail is judged by its From only if there is
exactly one such field, no line that a lenient reader would take for another, and every address in it reads in one way: strictly by
RFC 5322 (`upesi.mail.originators`), without groups, without an address inside of a comment or a local part, without encoded words where
no decoder has any business. ("Composition Kills", USENIX Security 2020, lists the tricks; tests/scenarios/from_tricks.table has them.)

What stands in a display name is not DMARC's matter: `"ceo@bank.example" <x@attacker.example>` is mail from attacker.example.
"""

from __future__ import annotations

import bisect
import enum
import re
import unicodedata

import msgspec

from upesi.mail.address import Address, AddressError
from upesi.mail.headers import MAX_HEADER, Headers
from upesi.mail.originators import comments, grouped, originators

__all__ = ["Author", "AuthorFault", "author_of"]

# "From" and a colon, with whatever a lenient reader skips in between: blanks, control characters, ends of lines, all beyond ASCII
_FROM = re.compile(rb"f[^!-~]*+r[^!-~]*+o[^!-~]*+m[^!-~]*+:")
_BEFORE = re.compile(rb"[!-~]")
# every end of a line that some reader knows: also those of Unicode and of ASCII's older controls
_LINE_END = re.compile(rb"[\r\n\x0b\x0c\x1c-\x1e\x85]|\xe2\x80[\xa8\xa9]")
_CONTINUED = re.compile(rb"\r\n[ \t]+")
_FIELD_START = re.compile(rb"\r\n(?![ \t])")
# characters of a local part that mean something to a reader who does not know quoting
_TRAPS = re.compile(r'[@<>,;:"\\()\x00-\x1f]|=\?.*\?=')
# What most people write, and what everybody reads in the same way: an address alone, or in angle brackets behind plain words
_PLAIN = re.compile(r"(?:(?:[A-Za-z0-9 ._'-]*|\"[A-Za-z0-9 ._'-]*\" *)<)?([A-Za-z0-9._+-]+@[A-Za-z0-9.-]+)(>?)")


class AuthorFault(enum.StrEnum):
    """Why there is no author to check."""

    MISSING = "there is no From field"
    SEVERAL = "there are several From fields"
    LOOKALIKE = "a line looks like another From field"
    UNREADABLE = "the From field cannot be read in one way"
    NOBODY = "the From field names nobody"
    LITERAL = "the author has an address literal and no domain"
    TOO_LONG = "the header section is too long"


class Author(msgspec.Struct, frozen=True):
    """The addresses of the one From field; `domains` are theirs, each once, in lower case as A-labels."""

    addresses: tuple[Address, ...]
    domains: tuple[str, ...]


def author_of(headers: Headers, section: bytes) -> Author | AuthorFault:
    """Return who wrote the message; `section` is its header section as it came in (the body behind it does not matter)."""
    section = section[: headers.size]
    if headers.size >= MAX_HEADER:
        return AuthorFault.TOO_LONG
    values = headers.all("From")
    if len(values) > 1:
        return AuthorFault.SEVERAL
    if _lookalikes(section) != len(values):
        return AuthorFault.LOOKALIKE
    return _read(values[0]) if values else AuthorFault.MISSING


def _lookalikes(section: bytes) -> int:
    """Count what some reader takes for a From field, the true ones among them. Linear: no octet is looked at more than a few times."""
    count = 0
    starts: list[int] | None = None
    for match in _FROM.finditer(section.lower()):
        before = _blanks_before(section, match.start())
        if _CONTINUED.fullmatch(before):
            # a line that goes on to us, and a field to a reader who strips lines first
            if starts is None:
                starts = [0, *(start.end() for start in _FIELD_START.finditer(section))]
            owner = starts[bisect.bisect_right(starts, match.start()) - 1]
            count += _means_field(section, owner, match.end())
        elif match.start() == len(before) or _LINE_END.search(before):
            count += 1
    return count


def _blanks_before(section: bytes, end: int) -> bytes:
    """Return what stands before `end`, back to the last character that a reader sees."""
    start = end
    while start and not _BEFORE.match(section, start - 1):
        start -= 1
    return section[start:end]


def _means_field(section: bytes, owner: int, after: int) -> bool:
    """Whether a folded line could be shown as an author: the list of signed fields in a signature has "From:" too, and no address."""
    name = section[owner : section.find(b":", owner)].strip().lower()
    end = section.find(b"\r\n", after)
    return not name.endswith(b"signature") and b"@" in section[after : end if end >= 0 else None]


def _read(value: str) -> Author | AuthorFault:
    plain = _PLAIN.fullmatch(value)
    # both brackets or none
    if plain is not None and (plain.start(1) > 0) == bool(plain[2]):
        try:
            address = Address.parse(plain[1], utf8=True)
        except AddressError:
            return AuthorFault.UNREADABLE
        return Author((address,), (address.domain,))
    return _read_closely(value)


def _read_closely(value: str) -> Author | AuthorFault:
    try:
        addresses = originators(value)
        if any("@" in text for text in comments(value)):
            return AuthorFault.UNREADABLE
        if grouped(value):
            return AuthorFault.UNREADABLE if addresses else AuthorFault.NOBODY
    except ValueError:
        return AuthorFault.UNREADABLE
    if not addresses:
        return AuthorFault.NOBODY
    # compatible characters, a full-width @ among them, are the plain ones to some readers
    if any(_TRAPS.search(unicodedata.normalize("NFKC", address.local)) for address in addresses):
        return AuthorFault.UNREADABLE
    domains = tuple(dict.fromkeys(address.domain for address in addresses))
    if any(domain.startswith("[") for domain in domains):
        return AuthorFault.LITERAL
    return Author(addresses, domains)
