"""A message as local programs hand it to `sendmail`, made fit to send: line ends, missing fields, recipients from its header.

Programs write what they like: bare LF, a leading mbox line, no From, no Date. What they wrote is kept octet for octet otherwise; in
particular header fields are cut out by their octets and never written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["completed", "crlf", "dot_stuffed", "header_recipients", "until_dot", "without_bcc"]

_FIELD_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
_RECIPIENT_FIELDS = (b"to", b"cc", b"bcc")


def until_dot(message: bytes) -> bytes:
    """Return what stands before a line with a single dot (without -i that is the end of the message)."""
    match = re.search(rb"^\.\r?(?:\n|\Z)", message, re.MULTILINE)
    return message[: match.start()] if match else message


def crlf(message: bytes) -> bytes:
    """Return `message` with every line end as CRLF, the last line's too: bare LF and bare CR may not be sent (RFC 5321 section 2.3.8)."""
    message = re.sub(rb"\r*\n|\r", b"\r\n", message)
    return message if message.endswith(b"\r\n") or not message else message + b"\r\n"


def dot_stuffed(message: bytes) -> bytes:
    """Return `message`, all of whose line ends are CRLF, as mail data with its end (RFC 5321 section 4.5.2)."""
    return re.sub(rb"^\.", b"..", message, flags=re.MULTILINE) + b".\r\n"


def _split(message: bytes) -> tuple[list[bytes], bytes]:
    """Return the header's fields, each with its continuation lines, and everything behind them."""
    fields: list[bytes] = []
    rest = 0
    for line in message.splitlines(keepends=True):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += line
        elif _FIELD_NAME.match(line):
            fields.append(line)
        elif rest == 0 and line.startswith((b"From ", b">From ")):
            pass  # an mbox separator is no part of a message
        else:
            break
        rest += len(line)
    return fields, message[rest:]


def _name(field: bytes) -> bytes:
    match = _FIELD_NAME.match(field)
    return match[1].lower() if match else b""


def completed(message: bytes, *, sender: str, full_name: str, date: str, message_id: str) -> bytes:
    """Return `message` with From, Date and Message-ID where they are missing (RFC 6409 section 8), and a blank line before the body."""
    fields, rest = _split(message)
    present = {_name(field) for field in fields}
    if b"from" not in present:
        fields.append(f"From: {_mailbox(full_name, sender)}\r\n".encode())
    if b"date" not in present:
        fields.append(f"Date: {date}\r\n".encode())
    if b"message-id" not in present:
        fields.append(f"Message-ID: <{message_id}>\r\n".encode())
    if rest and not rest.startswith(b"\r\n"):
        rest = b"\r\n" + rest
    return b"".join(fields) + (rest or b"\r\n")


def _mailbox(full_name: str, sender: str) -> str:
    if not full_name:
        return sender or "MAILER-DAEMON"
    quoted = re.sub(r"[\x00-\x1f\x7f]", "?", full_name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{sender}>'


def without_bcc(message: bytes) -> bytes:
    """Return `message` without its Bcc fields (RFC 5322 section 3.6.3: nobody else may see them)."""
    fields, rest = _split(message)
    return b"".join(field for field in fields if _name(field) not in (b"bcc", b"resent-bcc")) + rest


def header_recipients(message: bytes) -> list[str]:
    """Return the addresses of To, Cc and Bcc, or of their Resent- kind where there is one; raise ValueError for what is no address."""
    from email.utils import getaddresses

    fields, _ = _split(message)
    resent = [field for field in fields if _name(field) in {b"resent-" + name for name in _RECIPIENT_FIELDS}]
    chosen = resent or [field for field in fields if _name(field) in _RECIPIENT_FIELDS]
    values = [_value(field) for field in chosen]
    return list(dict.fromkeys(_addresses(getaddresses(values), values)))


def _value(field: bytes) -> str:
    unfolded = re.sub(rb"\r?\n(?=[ \t])", b"", field).partition(b":")[2].strip()
    return unfolded.decode("utf-8", "surrogateescape")


def _addresses(pairs: Sequence[tuple[str, str]], values: Sequence[str]) -> Iterator[str]:
    for _, address in pairs:
        if address:
            yield address
        elif not all(_is_empty_group(value) for value in values if value):
            # the parser gives nothing for what it cannot read; to send to the others only would look like success
            raise ValueError("the recipients in the message's header cannot be read")


def _is_empty_group(value: str) -> bool:
    return value.rstrip().endswith(";")
