"""Dovecot's authentication protocol, the client's side, version 1 (Dovecot's doc/auth-protocol.txt). Lines of fields parted by tabs.

    server: VERSION 1 minor, MECH name ..., SPID pid, CUID unique, COOKIE hex, DONE
    client: VERSION 1 1, CPID unique
    client: AUTH id mechanism service=... [secured] [lip=...] [rip=...] ... resp=base64
    server: OK id user=... ... | FAIL id [user=...] [temp] [reason=...] [code=...] ... | CONT id base64

No I/O. Many requests may be under way on one connection; answers come in any order and name their request.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import msgspec

from upesi.mail.errors import RemoteProtocolError

__all__ = ["MAX_LINE", "DovecotAnswer", "DovecotClient", "plain_request"]

# Dovecot's own AUTH_CLIENT_MAX_LINE_LENGTH
MAX_LINE = 8192
_MAX_MECHANISMS = 64
_NUMBER = re.compile(r"[0-9]{1,10}")
# a field's tab, line end and NUL travel behind an \001
_ESCAPES = {"0": "\0", "1": "\x01", "t": "\t", "r": "\r", "n": "\n"}
_ESCAPED = re.compile("\x01(.)")


class DovecotAnswer(msgspec.Struct, frozen=True):
    """The answer to request `id`: `kind` is OK, FAIL or CONT; `fields` by name, the value of a bare one is empty."""

    id: int
    kind: str
    fields: dict[str, str]


class DovecotClient:
    """One connection. `greeted` once the server has said all that comes before answers; `mechanisms` are those it offers."""

    __slots__ = ("_buffer", "_version", "greeted", "mechanisms")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._version = False
        self.greeted = False
        self.mechanisms: list[str] = []

    def hello(self, unique: int) -> bytes:
        """Return what a client says first; `unique` is a number that no other client of the server uses."""
        return f"VERSION\t1\t1\nCPID\t{unique}\n".encode()

    def receive(self, data: bytes) -> Iterator[DovecotAnswer]:
        """Take octets in and yield the answers that are complete; raise RemoteProtocolError for what is none of the protocol."""
        buffer = self._buffer
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            if end > MAX_LINE:
                break
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            answer = self._line(line)
            if answer is not None:
                yield answer
        if len(buffer) > MAX_LINE:
            raise RemoteProtocolError("a line that is too long")

    def _line(self, line: bytes) -> DovecotAnswer | None:
        try:
            name, *fields = line.decode().split("\t")
        except UnicodeDecodeError:
            raise RemoteProtocolError("a line that is not UTF-8") from None
        if not self._version:
            if name != "VERSION" or fields[:1] != ["1"]:
                raise RemoteProtocolError("another protocol, or another version of it")
            self._version = True
        elif name == "MECH" and fields and len(self.mechanisms) < _MAX_MECHANISMS:
            self.mechanisms.append(fields[0].upper())
        elif name == "DONE":
            self.greeted = True
        elif name in ("OK", "FAIL", "CONT"):
            return self._answer(name, fields)
        # SPID, CUID, COOKIE are for masters; what later minor versions add is to be ignored
        return None

    def _answer(self, kind: str, fields: list[str]) -> DovecotAnswer:
        if not self.greeted or not fields or not _NUMBER.fullmatch(fields[0]):
            raise RemoteProtocolError("an answer out of place")
        pairs = (field.partition("=") for field in fields[1:])
        return DovecotAnswer(int(fields[0]), kind, {name: _unescaped(value) for name, _, value in pairs})


def plain_request(
    number: int, user: str, password: str, *, service: str, secured: bool, local: str, remote: str, session: str
) -> bytes:
    """Return the request to try a password with PLAIN (RFC 4616). `number` is new for each on a connection.

    `no-penalty`: who guesses is slowed down by us; Dovecot's own delays would hold the answers to the others behind the same relay.
    """
    fields = ["AUTH", str(number), "PLAIN", f"service={service}", "no-penalty"]
    if secured:
        fields.append("secured")
    fields += [
        f"{name}={_escape(text)}" for name, text in (("lip", local), ("rip", remote), ("session", session)) if text
    ]
    response = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    # must be the last
    return ("\t".join([*fields, f"resp={response}"]) + "\n").encode()


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), text) if "\x01" in text else text


def _escape(text: str) -> str:
    return "".join(f"\x01{code}" if (code := _CODES.get(char)) else char for char in text)


_CODES = {char: code for code, char in _ESCAPES.items()}
