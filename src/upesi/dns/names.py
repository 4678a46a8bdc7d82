"""Names between text and octets (RFC 1035 sections 3.1 and 4.1.4).

In text a name is in lower case, without its final dot; octets that no host name has are escaped as in a zone file ("\\046", "\\013"), so
that a name from DNS holds no control character, and a dot inside a label is none. Names that need escapes, or IDNA, are read by
dnspython; nearly all are plain, and reading those takes 1 us and not 15.
"""

from __future__ import annotations

import re

import dns.exception
import dns.name

__all__ = ["BadMessage", "read_name", "wire_name"]

# RFC 1035 section 2.3.4, with the length octets and that of the root
MAX_NAME = 255
MAX_LABEL = 63

# Pointers of one name: compression needs one for each name that a name was cut from. Unbounded, 1000 records of 64 KiB would take seconds
MAX_POINTERS = 32

_PLAIN = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*", re.ASCII)


class BadMessage(ValueError):
    """Octets that are no DNS message."""


def wire_name(text: str) -> bytes | None:
    """Return `text` as in a message, None if it is no name that DNS could hold."""
    if not text.isascii() or "\\" in text:
        return _wire_by_dnspython(text)
    labels = text.encode().removesuffix(b".").split(b".")
    if text == ".":
        return b"\0"
    parts: list[bytes] = []
    for label in labels:
        size = len(label)
        if not 0 < size <= MAX_LABEL:
            return None
        parts += (size.to_bytes(1, "big"), label)
    parts.append(b"\0")
    wire = b"".join(parts)
    return wire if len(wire) <= MAX_NAME else None


def _wire_by_dnspython(text: str) -> bytes | None:
    try:
        return dns.name.from_text(text).to_wire()
    except (dns.exception.DNSException, UnicodeError, ValueError):
        return None


def read_name(wire: bytes, offset: int) -> tuple[str, int]:
    """Return the name at `offset` and where it ends there; raise BadMessage, or IndexError at the end of `wire`.

    A pointer must lead back, before everything read so far, so that there is no loop (DNS-02).
    """
    labels = []
    end, before, size, pointers = -1, offset, 1, 0
    while length := wire[offset]:
        if length <= MAX_LABEL:
            size += length + 1
            if size > MAX_NAME:
                raise BadMessage("a name is too long")
            labels.append(wire[offset + 1 : offset + 1 + length])
            offset += 1 + length
        elif length >= 0xC0:
            target = (length & 0x3F) << 8 | wire[offset + 1]
            if end < 0:
                end = offset + 2
            pointers += 1
            if target >= before or pointers > MAX_POINTERS:
                raise BadMessage("pointers lead nowhere")
            before = offset = target
        else:
            raise BadMessage("a label of unknown kind")
    # a label cut off by the end of the message has no octet behind it: `wire[offset]` raised
    return _text(labels), end if end >= 0 else offset + 1


def _text(labels: list[bytes]) -> str:
    text = b".".join(labels).decode("latin-1").lower()
    if (_PLAIN.fullmatch(text) and text.count(".") == len(labels) - 1) or not labels:
        return text
    return dns.name.Name(labels).to_text().lower()
