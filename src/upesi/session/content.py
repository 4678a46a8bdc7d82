"""Bounds on the header section of a message (MSG-01), looked at when the whole message is here: it costs a search for the first empty line.

What stands behind the bound no plugin would see (`mail.headers.MAX_HEADER`), and thousands of fields keep busy whoever reads them. The
body is never looked at: MIME is for those who ask for it. Where the empty line is missing, the section ends with its last line
that looks like a field, as it does to other servers.
"""

from __future__ import annotations

import re
from typing import Final

from upesi.config.settings import SmtpSettings
from upesi.mail.body import Body
from upesi.mail.headers import NO_HEADER
from upesi.mail.reply import Reply

__all__ = ["header_fault"]

_TOO_LARGE: Final = Reply.make(552, "5.3.4", "Header section is larger than the limit")
_TOO_MANY: Final = Reply.make(554, "5.6.0", "Header section has too many fields")

# Most header sections fit in the first read, nearly all others in the second: a large message is not copied to see its first lines
_FIRST_READ: Final = 4 * 1024
_SECOND_READ: Final = 16 * 1024
_BLANK: Final = b"\r\n\r\n"
# "a:" CR LF
_LEAST_FIELD: Final = 4
_CONTINUATION: Final = re.compile(rb"\r\n[ \t]")
# lines that begin as a field or a continuation does, the last one perhaps without its end. Each line can be read in one way: this is linear
_FIELDS: Final = re.compile(rb"(?:(?:[!-9;-~]+[ \t]*:|[ \t])[^\n]*+(?:\n|\Z))*")


def header_fault(body: Body, settings: SmtpSettings) -> Reply | None:
    """Return the reply to a message whose header section is beyond the bounds, None where it is within them."""
    start = body.read(0, _FIRST_READ)
    end = start.find(_BLANK)
    if end < 0 and len(start) == _FIRST_READ:
        start, end = _further(body, settings.max_header_size + len(_BLANK))
    if start.startswith(NO_HEADER):
        return None
    # with the CRLF of the last field
    end = end + 2 if end >= 0 else _last_field(start)
    if end > settings.max_header_size:
        return _TOO_LARGE
    most = settings.max_header_fields
    return _TOO_MANY if end > most * _LEAST_FIELD and _count(start, end) > most else None


def _further(body: Body, most: int) -> tuple[bytes, int]:
    """Return as much of a message as holds the empty line, and its place; as much as shows that there is none within the bound, and -1."""
    for size in (_SECOND_READ, most):
        start = body.read(0, size)
        end = start.find(_BLANK)
        if end >= 0 or len(start) < size:
            break
    return start, end


def _count(start: bytes, end: int) -> int:
    """Return how many fields there are in a section that ends at `end`."""
    return start.count(b"\r\n", 0, end) - sum(1 for _ in _CONTINUATION.finditer(start, 0, end))


def _last_field(start: bytes) -> int:
    """Return where the fields end in a message that has no empty line so far."""
    match = _FIELDS.match(start)
    return match.end() if match is not None else 0
