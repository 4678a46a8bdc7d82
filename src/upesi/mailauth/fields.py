"""The header section of a message as its fields, octet for octet, for those who hash them (RFC 6376 section 5.4.2).

`upesi.mail.headers` answers questions about values; here fields keep their folding, their blanks and the case of their names. Where
the section ends, and what a line is, both read alike: an empty line ends it, and a line ends with CRLF and nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from upesi.mailauth.canonical import Canonicalization, relaxed_fields

__all__ = ["Fields", "fields_digest"]

_SIGNATURES = frozenset((b"dkim-signature", b"arc-message-signature"))
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


class Fields:
    """The fields of one message by name, from top to bottom, each without its last CRLF."""

    __slots__ = ("_by_name",)

    def __init__(self, section: bytes) -> None:
        """`section` holds the fields, with or without the CRLF of the last one."""
        # each with its body, which those who hash it need
        self._by_name: dict[bytes, list[tuple[bytes, bytes]]] = {}
        by_name = self._by_name
        for field in _FIELD_END.split(section):
            name, colon, value = field.partition(b":")
            if colon:
                # obs-optional (RFC 5322 section 4.5): blanks may stand before the colon
                by_name.setdefault(name.rstrip(b" \t").lower(), []).append((field, value))

    def named(self, name: bytes) -> list[bytes]:
        """Return the fields of this name, given in lower case, topmost first."""
        return [field for field, _ in self._by_name.get(name, ())]

    def selected(self, names: Iterable[bytes], without: bytes = b"") -> list[tuple[bytes, bytes, bytes]]:
        """Return the fields that a list of names in lower case signs, each as its name, itself and its body.

        Each name takes the lowest field that is left. One for which none is left takes nothing (RFC 6376 section 5.4.2): so a signer says
        that there are no more of it. `without` is the signature itself, which was not there when it was made.
        """
        chosen = []
        taken: dict[bytes, int] = {}
        named = self._by_name.get
        for name in names:
            fields = named(name)
            if fields is None:
                continue
            if name in _SIGNATURES:
                fields = [each for each in fields if each[0] is not without]
            used = taken.get(name, 0)
            if used < len(fields):
                taken[name] = used + 1
                field, value = fields[-1 - used]
                chosen.append((name, field, value))
        return chosen


def fields_digest(
    fields: Fields, names: Iterable[bytes], unsigned: bytes, canonicalization: Canonicalization, itself: bytes = b""
) -> bytes:
    """Return the hash of the fields that `names` select, and of the signature's own field with nothing in b= (RFC 6376 section 3.7).

    `itself` is that field as it stands among `fields`, if it does.
    """
    signed = fields.selected(names, itself)
    name, _, value = unsigned.partition(b":")
    signed.append((name.lower(), unsigned, value))
    if canonicalization is Canonicalization.RELAXED:
        return hashlib.sha256(
            relaxed_fields([name for name, _, _ in signed], [value for _, _, value in signed])
        ).digest()
    return hashlib.sha256(b"\r\n".join([field for _, field, _ in signed])).digest()
