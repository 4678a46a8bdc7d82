"""Tag lists: the form of DKIM signatures, key records and ARC's fields (RFC 6376 section 3.2).

    tag-list  =  tag-spec *( ";" tag-spec ) [ ";" ]
    tag-spec  =  [FWS] tag-name [FWS] "=" [FWS] tag-value [FWS]
    tag-name  =  ALPHA *ALNUMPUNC
    tval      =  1*VALCHAR        ; %x21-3A / %x3C-7E

Names are kept as they are written (case matters), values without the blanks around them. What a value means is not this module's
business. DMARC's records have the same form with other rules, and a reader of their own.
"""

from __future__ import annotations

import binascii
import re

__all__ = ["MAX_TAGS", "MAX_TAG_LIST", "TagError", "base64_value", "number_value", "parse_tags", "words"]

# Octets of one tag list. A signature over a hundred field names with a 4096-bit key has some 3 kB; a key record of that size 1 kB
MAX_TAG_LIST = 16 * 1024
# RFC 6376 and 8617 know 17 tags
MAX_TAGS = 64

_BLANKS = " \t\r\n"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_KNOWN = frozenset(("v", "a", "b", "bh", "c", "cv", "d", "h", "i", "k", "l", "n", "p", "q", "s", "t", "x", "z"))
# FWS may hold CR and LF; whether they fold a line was seen when the header was read
_CONTROLS = bytes(octet for octet in (*range(32), 127) if chr(octet) not in "\t\r\n")
# the bounds of t=, x= and l= (RFC 6376 section 3.5: up to 12 and up to 76 digits)
_MAX_DIGITS = 76


class TagError(ValueError):
    """Text that is no tag list, or a value that cannot be what its tag says. The message is safe to show."""


def parse_tags(text: str) -> dict[str, str]:
    """Return the tags of a list in their order; raise TagError."""
    if len(text) > MAX_TAG_LIST:
        raise TagError("tag list is too long")
    specs = text.split(";", MAX_TAGS + 1)
    if len(specs) > 1 and not specs[-1].strip(_BLANKS):
        specs.pop()
    if len(specs) > MAX_TAGS:
        raise TagError("tag list has too many tags")
    tags: dict[str, str] = {}
    for spec in specs:
        name, equals, value = spec.partition("=")
        if not equals:
            raise TagError("tag list is malformed")
        tags[name.strip(_BLANKS)] = value.strip(_BLANKS)
    if len(tags) != len(specs):
        # RFC 6376 section 3.2: the whole list is invalid
        raise TagError("tag list has a tag twice")
    # nearly all lists have known names only, which is one question and not nine
    if not tags.keys() <= _KNOWN and not all(_NAME.fullmatch(name) for name in tags):
        raise TagError("tag list is malformed")
    octets = text.encode(errors="replace")
    if len(octets.translate(None, _CONTROLS)) != len(octets):
        raise TagError("tag list has a control character")
    return tags


def base64_value(text: str) -> bytes:
    """Return the octets of a base64string, blanks inside it ignored; raise TagError."""
    try:
        return binascii.a2b_base64(text.encode().translate(None, b" \t\r\n"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise TagError("base64 is malformed") from None


def number_value(text: str) -> int:
    """Return a number of decimal digits; raise TagError."""
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_DIGITS:
        raise TagError("number is malformed")
    return int(text)


def words(text: str) -> list[str]:
    """Return what stands between the colons of a list ("sha1 : sha256"), in lower case and without blanks."""
    return [word.strip(_BLANKS) for word in text.lower().split(":")]
