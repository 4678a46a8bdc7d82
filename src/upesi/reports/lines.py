"""Lines of a notice: fields and paragraphs of a bearable length, whatever text goes into them (RFC 5322 sections 2.1.1 and 2.2.3).

Every text from outside passes `printable` here or before: no octet of it ends a line, begins a field or steers a terminal
(CVE-2020-8794, LOG-01).
"""

from __future__ import annotations

import textwrap

from upesi.mail.reply import printable

__all__ = ["LONGEST", "block", "paragraph"]

# RFC 5322 section 2.1.1: lines should have at most 78 characters, and must not have more than 998 octets
_FOLD = 76
LONGEST = 998


def block(fields: list[tuple[str, str]]) -> str:
    """Return fields, each with its line end, folded where they are long."""
    return "".join(f"{_field(name, value)}\r\n" for name, value in fields)


def paragraph(text: str, indent: str = "") -> list[str]:
    """Return `text`, made printable, as lines."""
    return _wrapped(printable(text), indent, indent)


def _field(name: str, value: str) -> str:
    return "\r\n".join(_wrapped(f"{name}: {printable(value)}", "", "\t"))


def _wrapped(text: str, first: str, then: str) -> list[str]:
    lines = textwrap.wrap(
        text, _FOLD, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )
    return [_cut(line) for line in lines] or [first.rstrip()]


def _cut(line: str) -> str:
    """Return `line` in at most LONGEST octets; only a word without a blank can be longer."""
    if len(line) * 4 <= LONGEST:
        return line
    return line.encode()[:LONGEST].decode(errors="ignore")
