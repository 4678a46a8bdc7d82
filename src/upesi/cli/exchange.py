"""One SMTP transaction with the local listener, blocking and small: `sendmail` must start fast, also a thousand times from a loop."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Self

__all__ = ["Exchange", "Refused", "Unreachable"]

# RFC 5321 section 4.5.3.2: five minutes for a reply, ten after the final dot
_REPLY_SECONDS = 300.0
_FINAL_SECONDS = 600.0
_CONNECT_SECONDS = 30.0
# RFC 5321 section 4.5.3.1.5 allows 512; some send more, none sends this much
_MAX_LINE = 4096
_MAX_LINES = 128


class Unreachable(Exception):
    """The server could not be spoken to: try again later."""


class Refused(Exception):
    """The server said no; `code` is its reply code, `text` its reply, `what` what was refused."""

    def __init__(self, what: str, code: int, text: str) -> None:
        super().__init__(f"{what}: {code} {text}")
        self.code = code


class Exchange:
    """A session with an SMTP server; use it in a `with` statement."""

    __slots__ = ("_extensions", "_file", "_sock")

    def __init__(self, host: str, port: int, name: str) -> None:
        """Connect and greet as `name`; raise Unreachable or Refused."""
        self._extensions: dict[str, str] = {}
        try:
            self._sock = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
        except OSError as error:
            raise Unreachable(f"{host} port {port}: {error.strerror or error}") from error
        self._file = self._sock.makefile("rb")
        self._sock.settimeout(_REPLY_SECONDS)
        try:
            self._expect("greeting", 2)
            lines = self._command(f"EHLO {name}", "EHLO", 2)
        except BaseException:
            self._close()
            raise
        for line in lines[1:]:
            keyword, _, parameters = line.partition(" ")
            self._extensions[keyword.upper()] = parameters

    def send(
        self, sender: str, recipients: Sequence[str], data: bytes, size: int, asked: tuple[str, str] = ("", "")
    ) -> str:
        """Send mail data (dot-stuffed, with its end) of a message of `size` octets, to all recipients or to none; return the reply's text.

        `asked` are parameters of DSN for MAIL and for each RCPT; they are left out where the server does not offer it.

        Raise Refused, and nothing was sent, if any recipient is refused: a program that tries again must not send the others twice.
        """
        of_mail, of_rcpt = asked if "DSN" in self._extensions else ("", "")
        parameters = self._parameters(sender, recipients, data, size) + of_mail
        self._command(f"MAIL FROM:<{sender}>{parameters}", f"sender {sender or '<>'}", 2)
        refused: list[Refused] = []
        for recipient in recipients:
            try:
                self._command(f"RCPT TO:<{recipient}>{of_rcpt}", f"recipient {recipient}", 2)
            except Refused as error:
                refused.append(error)
        if refused:
            raise refused[0] if len(refused) == 1 else _together(refused)
        self._command("DATA", "DATA", 3)
        self._write(data)
        self._sock.settimeout(_FINAL_SECONDS)
        return " ".join(self._expect("message", 2))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # after an error too: the server drops the transaction, and does not count us among those who hang up
            self._sock.settimeout(5)
            self._command("QUIT", "QUIT", 2)
        except (Unreachable, Refused):
            pass
        self._close()

    def _parameters(self, sender: str, recipients: Sequence[str], data: bytes, size: int) -> str:
        text = f" SIZE={size}" if "SIZE" in self._extensions else ""
        if "8BITMIME" in self._extensions and not data.isascii():
            text += " BODY=8BITMIME"
        if not all(address.isascii() for address in (sender, *recipients)):
            if "SMTPUTF8" not in self._extensions:
                raise Refused("addresses beyond ASCII", 553, "the server does not offer SMTPUTF8")
            text += " SMTPUTF8"
        return text

    def _command(self, line: str, what: str, good: int) -> list[str]:
        self._write(f"{line}\r\n".encode())
        return self._expect(what, good)

    def _write(self, data: bytes) -> None:
        try:
            self._sock.sendall(data)
        except OSError as error:
            raise Unreachable(f"the server hung up: {error.strerror or error}") from error

    def _expect(self, what: str, good: int) -> list[str]:
        lines: list[str] = []
        for _ in range(_MAX_LINES):
            try:
                raw = self._file.readline(_MAX_LINE)
            except OSError as error:
                raise Unreachable(f"{what}: no answer: {error.strerror or error}") from error
            if not raw.endswith(b"\n") or not raw[:3].isdigit():
                raise Unreachable(f"{what}: the server hung up or does not speak SMTP")
            lines.append(raw[4:].decode("utf-8", "replace").rstrip("\r\n"))
            if raw[3:4] != b"-":
                code = int(raw[:3])
                if code // 100 != good:
                    raise Refused(what, code, " ".join(lines))
                return lines
        raise Unreachable(f"{what}: an endless reply")

    def _close(self) -> None:
        self._file.close()
        self._sock.close()


def _together(refused: list[Refused]) -> Refused:
    # one that is temporary makes the whole temporary: a later try may get all through
    first = min(refused, key=lambda error: error.code)
    rest = "; ".join(str(error) for error in refused if error is not first)
    return Refused(
        str(first).partition(f": {first.code}")[0], first.code, f"{str(first).partition(f'{first.code} ')[2]}; {rest}"
    )
