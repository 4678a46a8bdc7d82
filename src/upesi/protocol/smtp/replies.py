"""Replies as they come from a server (RFC 5321 section 4.2), from one that may be broken or hostile.

    Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP textstring ] CRLF

Lenient where servers are known to differ: a code without text, codes no RFC names (the first digit counts, section 4.3.2), a bare LF as
line end (nothing can be smuggled towards us: the server owns all of its replies). Strict where leniency would attach an answer to
the wrong command: mixed codes, text without a code. Everything is bounded.
"""

from __future__ import annotations

import re

import msgspec

from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import printable
from upesi.protocol.smtp.buffer import ReceiveBuffer

__all__ = ["MAX_LINE", "MAX_LINES", "MAX_OCTETS", "ParsedReply", "ReplyParser"]

# RFC 5321 section 4.5.3.1.5 allows 512 octets; some send whole web addresses
MAX_LINE = 4096
# EHLO answers have some twenty lines, banners with legal notices some forty
MAX_LINES = 512
MAX_OCTETS = 64 * 1024
# Replies that a connection remembers by their octets: "250 2.1.0 Ok" comes with every message (2.5 us to read, 0.4 to find). The first
# ones stay, since those are what a server says to every MAIL, RCPT and DATA; a reply with a queue id never comes twice
_REMEMBERED = 16

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_STATUS = re.compile(r"([245])\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})(?= |$)")


class ParsedReply(msgspec.Struct, frozen=True, gc=False):
    """One reply: code, enhanced status ("" where there is none that fits the code), and lines of sanitised text without them."""

    code: int
    status: str
    lines: tuple[str, ...]


class ReplyParser:
    """Octets in, replies out. `with_status` in `next` is False where a leading "2.0.0" would be plain text."""

    __slots__ = ("_buffer", "_code", "_known", "_lines", "_octets")

    def __init__(self) -> None:
        self._buffer = ReceiveBuffer()
        self._code = b""
        self._lines: list[str] = []
        self._octets = 0
        self._known: dict[bytes, ParsedReply] = {}

    @property
    def pending(self) -> bool:
        """Whether octets wait that no reply was made of yet."""
        return len(self._buffer) > 0 or bool(self._lines)

    def receive(self, data: bytes) -> None:
        """Take in what came from the server."""
        self._buffer.append(data)

    def next(self) -> ParsedReply | None:
        """Return the next complete reply, None if there is none; raise RemoteProtocolError for what is no reply."""
        buffer = self._buffer
        while buffer.data:
            line = buffer.take_line()
            if not line:
                if len(buffer) > MAX_LINE:
                    raise RemoteProtocolError("reply line too long")
                return None
            alone = not self._lines
            if alone and (known := self._known.get(line)) is not None:
                return known
            if self._add(line):
                reply = self._finish()
                if alone and len(self._known) < _REMEMBERED:
                    self._known[line] = reply
                return reply
        return None

    def _add(self, line: bytes) -> bool:
        """Add one line; whether it is the last one of its reply."""
        self._octets += len(line)
        if len(line) > MAX_LINE or self._octets > MAX_OCTETS or len(self._lines) >= MAX_LINES:
            raise RemoteProtocolError("reply too long")
        match = _LINE.fullmatch(line[:-2] if line.endswith(b"\r\n") else line[:-1])
        if match is None:
            raise RemoteProtocolError("not a reply: " + _text(line[:80].strip()))
        code, mark, text = match.groups()
        if self._code and code != self._code:
            # RFC 5321 section 4.2.1: "the reply code on each of the lines MUST be the same"
            raise RemoteProtocolError("reply code changes between lines")
        self._code = code
        self._lines.append(_text(text) if text else "")
        return mark != b"-"

    def _finish(self) -> ParsedReply:
        code, lines = int(self._code), self._lines
        self._code = b""
        self._lines = []
        self._octets = 0
        match = _STATUS.match(lines[0])
        # RFC 2034 section 4: the class agrees with the code; where it does not, the code is what the server acts on
        if match is None or int(match[1]) != code // 100:
            return ParsedReply(code, "", tuple(lines))
        status = match[0]
        return ParsedReply(code, status, tuple([_without(line, status) for line in lines]))


def _text(octets: bytes) -> str:
    text = octets.decode(errors="replace")
    # most replies are plain; the long way costs a regular expression
    return text if text.isascii() and text.isprintable() and len(text) < 400 else printable(text)


def _without(line: str, status: str) -> str:
    return line[len(status) :].lstrip(" ") if line.startswith(status) else line
