"""An SMTP reply (RFC 5321 section 4.2), made safe to send when it is made.

A reply holds its wire form from the start: fixed replies are module constants and cost nothing per use. Whatever text a
plugin or a remote server had a hand in is reduced to printable characters, and cut, here and nowhere else.
"""

from __future__ import annotations

import re

import msgspec

from upesi.mail.status import EnhancedStatus

__all__ = ["MAX_REPLY_LINES", "MAX_REPLY_TEXT", "Reply", "Said", "printable"]

# RFC 5321 section 4.5.3.1.5: a reply line has at most 512 octets with its code and CRLF; this leaves room for both and a status
MAX_REPLY_TEXT = 490
# No RFC bound; a reply with more is a mistake (EHLO answers have some twenty)
MAX_REPLY_LINES = 64

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def printable(text: str, limit: int = MAX_REPLY_TEXT) -> str:
    """Return `text` on one line, without control, line-separator or bidirectional-override characters, at most `limit` octets.

    What is replaced becomes "?", so that nothing remote can shape a reply, a log line or a report (CVE-2020-8794).
    """
    text = _UNPRINTABLE.sub("?", text[:limit])
    if not text.isascii():
        text = text.encode()[:limit].decode(errors="ignore")
    return text


class Said(msgspec.Struct, frozen=True, gc=False):
    """What every reply says, ours or another server's: `code`, enhanced `status` ("" where there is none), sanitised `lines`."""

    code: int
    status: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines joined by blanks, for logs and reports."""
        return " ".join(self.lines)

    @property
    def positive(self) -> bool:
        """Whether this is 2xx or 3xx."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """Whether this is 4xx."""
        return 400 <= self.code < 500


class Reply(Said, frozen=True, gc=False):
    """A reply of ours: `code` 200 to 599, `status` ("5.7.1") where one belongs, `lines` of text, and `wire`, its octets.

    `status` is empty for greetings, answers to HELO/EHLO and 3xx (RFC 2034 section 4).
    """

    wire: bytes

    @classmethod
    def make(cls, code: int, status: str = "", *lines: str) -> Reply:
        """Build a reply, sanitising its text; raise ValueError if code or status cannot be sent.

        The status's class must be the code's first digit (RFC 2034 section 4).
        """
        if not 200 <= code <= 599:
            raise ValueError(f"reply code {code} is not between 200 and 599")
        if status:
            parsed = EnhancedStatus.parse(status)
            if parsed.klass != code // 100:
                raise ValueError(f"status {status} does not belong to reply code {code}")
        clean = tuple(printable(part) for line in (lines or ("",)) for part in line.splitlines() or [""])
        clean = clean[:MAX_REPLY_LINES]
        lead = f"{status} " if status else ""
        last = len(clean) - 1
        wire = "".join(f"{code}{' ' if i == last else '-'}{lead}{line}\r\n" for i, line in enumerate(clean))
        return cls(code, status, clean, wire.encode())

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}" if self.status else f"{self.code} {self.text}"
