"""Octets of the client side: reading replies, writing commands. A thin layer that goes when the protocol room has its own."""

from __future__ import annotations

import re

import msgspec

from upesi.mail.envelope import BodyType, Recipient, Transmission
from upesi.mail.errors import RemoteProtocolError
from upesi.mail.reply import Reply, printable

__all__ = ["ReplyReader"]
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_STATUS = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: |$)")


class ReplyReader:
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._code = b""

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_reply(self) -> Reply | None:
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            m = _LINE.fullmatch(line)
            if m is None or (self._code and m[1] != self._code):
                raise RemoteProtocolError("malformed reply")
            self._lines.append(printable((m[3] or b"").decode(errors="replace")))
            if len(self._lines) > 512:
                raise RemoteProtocolError("reply too long")
            if m[2] == b"-":
                self._code = m[1]
                continue
            lines, self._lines, self._code = self._lines, [], b""
            s = _STATUS.match(lines[0])
            return Reply(int(m[1]), s[1] if s else "", tuple(lines), b"")
        if len(self._buffer) > 65536:
            raise RemoteProtocolError("reply too long")
        return None


class Extensions(msgspec.Struct, frozen=True):
    """What the server offered."""

    pipelining: bool = False
    chunking: bool = False
    binary: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    size: int = 0


def extensions_of(reply: Reply) -> Extensions:
    words = {}
    for line in reply.lines[1:]:
        parts = line.split()
        if parts:
            words[parts[0].upper()] = parts[1:]
    size = words.get("SIZE") or ["0"]
    return Extensions(
        "PIPELINING" in words,
        "CHUNKING" in words,
        "BINARYMIME" in words,
        "8BITMIME" in words,
        "SMTPUTF8" in words,
        "DSN" in words,
        int(size[0]) if size[0].isdigit() and len(size[0]) < 20 else 0,
    )


def mail_command(path: object, t: Transmission, size: int, ext: Extensions, utf8: bool) -> bytes:
    out = f"MAIL FROM:<{path or ''}>"
    if ext.size or (True and ext.size):
        out += f" SIZE={size}"
    if t.body is BodyType.BINARY:
        out += " BODY=BINARYMIME"
    elif t.body is BodyType.EIGHT_BIT and ext.eight_bit:
        out += " BODY=8BITMIME"
    if utf8:
        out += " SMTPUTF8"
    return out.encode() + b"\r\n"


def rcpt_command(r: Recipient, ext: Extensions) -> bytes:
    return f"RCPT TO:<{r.address}>\r\n".encode()
