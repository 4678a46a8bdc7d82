"""Who a message says that it is from: the addresses in a From or Sender field (RFC 5322 sections 3.4 and 3.6.2, RFC 6854).

    mailbox-list = mailbox *("," mailbox)
    mailbox      = ([display-name] angle-addr) / addr-spec
    group        = display-name ":" [group-list] ";"

Read strictly, because it is read for a decision: what two programs would read differently is an error here, not a guess. So an "@"
outside of quotes may stand in an address only, an angle-addr ends its mailbox, and routes are not understood. Linear in the length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from upesi.mail.address import Address, AddressError

__all__ = ["MAX_ORIGINATORS", "comments", "grouped", "originators"]

# nobody writes a message with a hundred others
MAX_ORIGINATORS = 100
# RFC 5322 section 3.2.2 lets comments nest; so deep they are an attack
_MAX_COMMENTS = 16

_TOKEN = re.compile(
    r"""(?P<blank>[ \t]+)
    |(?P<quoted>"(?:[^"\\\x00-\x08\x0a-\x1f]|\\[^\x00-\x08\x0a-\x1f])*")
    |(?P<special>[<>,:;()])
    |(?P<word>[^ \t"<>,:;()\\\x00-\x1f\x7f]+)""",
    re.VERBOSE,
)
_IN_COMMENT = re.compile(r"[^()\\]+|\\.|[()]", re.DOTALL)


def originators(value: str) -> tuple[Address, ...]:
    """Return the addresses in an unfolded field body, in their order; raise ValueError for what cannot be read in one way only."""
    found: list[Address] = []
    mailbox = _Mailbox()
    in_group = False
    for kind, text in _tokens(value):
        if kind != "special":
            mailbox.add(kind, text if kind != "blank" else " ")
        elif text == ":" and not in_group:
            mailbox.end_name()
            in_group = True
        elif text == "," or (text == ";" and in_group):
            found += mailbox.take()
            in_group = in_group and text == ","
            if len(found) > MAX_ORIGINATORS:
                raise ValueError("too many addresses")
        else:
            mailbox.angle(text)
    if in_group:
        raise ValueError("a group without its end")
    return (*found, *mailbox.take())


def grouped(value: str) -> bool:
    """Whether the body of a field has a group in it (RFC 6854); raise ValueError for what cannot be read."""
    return any(kind == "special" and text == ":" for kind, text in _tokens(value))


def comments(value: str) -> tuple[str, ...]:
    """Return the comments in the body of a field, with their parentheses; raise ValueError for what cannot be read."""
    return tuple(text for kind, text in _tokens(value) if kind == "blank" and text.startswith("("))


def _tokens(value: str) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each token; a comment is a blank."""
    at = 0
    while at < len(value):
        match = _TOKEN.match(value, at)
        if match is None:
            raise ValueError("a character that has no place here")
        if match["special"] == "(":
            end = _behind_comment(value, at)
            yield "blank", value[at:end]
            at = end
            continue
        at = match.end()
        yield str(match.lastgroup), match[0]


def _behind_comment(value: str, at: int) -> int:
    depth = 0
    while match := _IN_COMMENT.match(value, at):
        at = match.end()
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return at
        if depth > _MAX_COMMENTS:
            break
    raise ValueError("a comment without its end")


class _Mailbox:
    """One mailbox that is being read: what stands before an angle bracket, in it, and whether it is closed."""

    __slots__ = ("_address", "_closed", "_outside")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._outside: list[tuple[str, str]] = []
        self._address: list[str] | None = None
        self._closed = False

    def add(self, kind: str, text: str) -> None:
        """Take a word, a quoted string or blanks."""
        if self._address is not None and not self._closed:
            self._address.append(text)
        elif not (self._closed and kind == "blank"):
            if self._closed:
                raise ValueError("words behind an address")
            self._outside.append((kind, text))

    def angle(self, bracket: str) -> None:
        """Take "<" or ">"; any other special has no place."""
        if bracket == "<" and self._address is None:
            self._address = []
        elif bracket == ">" and self._address is not None and not self._closed:
            self._closed = True
        else:
            raise ValueError(f"{bracket!r} has no place here")

    def end_name(self) -> None:
        """What was read is the name of a group."""
        self._check_name()
        if self._address is not None or not self._words():
            raise ValueError("':' has no place here")
        self._clear()

    def take(self) -> list[Address]:
        """Return the address, none where there was nothing; begin anew."""
        words = self._words()
        try:
            if self._address is None:
                return [_parsed("".join(text for _, text in self._outside).strip(" \t"))] if words else []
            if not self._closed:
                raise ValueError("'<' without its end")
            self._check_name()
            return [_parsed("".join(self._address).strip(" \t"))]
        finally:
            self._clear()

    def _words(self) -> bool:
        return any(kind != "blank" for kind, _ in self._outside)

    def _check_name(self) -> None:
        if any(kind == "word" and "@" in text for kind, text in self._outside):
            raise ValueError("an address in the place of a name")


def _parsed(text: str) -> Address:
    try:
        return Address.parse(text, utf8=True)
    except AddressError as error:
        raise ValueError(str(error)) from None
