"""What is wrong with the MIME structure of a message: values beside the tree, so that a policy can refuse what nobody should guess at.

Whatever is read in two ways is an attack waiting: what the checks take for text, the reader's program takes for a program. Each
kind says whether programs that are in use are known, or free by the RFCs, to read it differently (`ambiguous`).
"""

from __future__ import annotations

import msgspec

__all__ = ["AMBIGUOUS", "BOUNDS", "KINDS", "Defect"]


class Defect(msgspec.Struct, frozen=True, gc=False):
    """One defect: its kind, a key of KINDS, and the path of the part it was found in ("" is the message)."""

    kind: str
    path: str

    @property
    def ambiguous(self) -> bool:
        """Whether programs differ in what they read there."""
        return self.kind in AMBIGUOUS

    def __str__(self) -> str:
        return f"{self.kind} in part {self.path}" if self.path else self.kind


# Where our reading stops: what lies behind is part of what was open there
BOUNDS = {
    "too-many-parts": "more parts than are looked at",
    "too-deep": "nested deeper than is looked at",
    "too-many-lines": "more lines that could be delimiters than are looked at",
    "header-too-large": "a header section that is longer than is looked at",
    "too-many-parameters": "more parameters than are looked at",
}

_DIFFERENT = {
    "duplicate-field": "a field twice that may be there once: readers take the first or the last (MSG-03's kind)",
    "bad-content-type": "a Content-Type that is none: text to some readers, unknown to others",
    "duplicate-parameter": "a parameter twice: readers take the first or the last",
    "unclosed-quote": "a quoted string without its end",
    "comment": "a comment in a Content-Type or Content-Disposition: allowed, and part of the value to readers that do not know them",
    "no-boundary": "a multipart without a boundary: one part, or text",
    "bad-boundary": "a boundary that is longer than 70 characters, empty, or of characters that no boundary has",
    "extended-boundary": "a boundary in pieces or encoded (RFC 2231), which many readers do not put together",
    "boundary-reused": "a multipart whose boundary is that of one around it",
    "boundary-prefix": "a boundary that begins with another: RFC 2046 section 5.1.1 lets readers compare the beginning of a line alone",
    "odd-delimiter": "a line that begins with a delimiter and goes on: one by RFC 2046 section 5.1.1, and none to many",
    "bare-line-end": "a delimiter behind a bare CR or LF: a line to some readers",
    "no-delimiter": "a multipart in which its boundary never comes",
    "double-delimiter": "a delimiter right behind another: a part of nothing between them, or one delimiter",
    "part-after-end": "a delimiter behind the one that ends its multipart: an epilogue, or another part",
    "fields-in-preamble": "what looks like a part's fields in front of the first delimiter",
    "cut-header": "a header section that ends with a delimiter or the message instead of an empty line",
    "odd-line": "a line in a header section that is no field: the end of the section to some readers (MSG-18)",
    "blank-continuation": "a line of blanks in a header section: a continuation by RFC 5322, an empty line to some readers (MSG-18)",
    "control-in-header": "NUL, or a CR or LF alone, in a header section (MSG-18)",
    "bad-encoding": "a Content-Transfer-Encoding that does not exist",
    "encoded-multipart": "a multipart in base64 or quoted-printable, which RFC 2045 section 6.4 forbids, and some readers decode",
    "two-names": "file names that differ: `filename` and `name`, or plain and extended",
}

_KNOWN = {
    "missing-end": "a multipart without the delimiter that ends it, as in mail that was cut off",
    "no-mime-version": "a message with parts and no MIME-Version",
    "unquoted": "a value with blanks or special characters and without quotes",
    "parameter-gap": "a parameter in pieces (RFC 2231) of which one is missing",
    "encoded-message": "a message/rfc822 in base64 or quoted-printable, which RFC 2046 section 5.2.1 forbids",
    "partial": "a piece of a message (message/partial): it is never put together",
    "external-body": "content that is somewhere else (message/external-body): it is never fetched",
    "unsafe-name": "a file name with a path, control characters, or characters that turn the direction of writing",
}

KINDS = {**BOUNDS, **_DIFFERENT, **_KNOWN}
AMBIGUOUS = frozenset((*BOUNDS, *_DIFFERENT))
