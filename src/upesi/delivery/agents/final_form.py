"""A message as it is delivered for good, into a mailbox or to a program: fields added, line ends of files.

Adds Return-Path, dropping older ones (RFC 5321 section 4.4, C08), and Delivered-To (RFC 9228), which also ends loops (C116). CRLF becomes
LF, as readers of Maildir and programs expect, but not in BINARYMIME (RFC 3030): there it may be anything but the end of a line, so such a
message is given as it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from upesi.mail.envelope import BodyType, Recipient
from upesi.mail.reply import printable
from upesi.spool.records import StoredMessage

__all__ = ["final_form"]

# Octets of the header that are looked through for Return-Path and Delivered-To
MAX_HEADER = 256 * 1024

# The fields at the start of a message; the empty line ends them, or the first line that is no field (RFC 5322 section 2.2)
_FIELDS = re.compile(rb"(?:[!-9;-~\x80-\xff]++[ \t]*+:[^\n]*+\n(?:[ \t][^\n]*+\n)*+)*+")
_RETURN_PATH = re.compile(rb"^return-path[ \t]*:.*\r?\n(?:[ \t].*\r?\n)*", re.IGNORECASE | re.MULTILINE)
_DELIVERED_TO = re.compile(rb"^delivered-to[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def final_form(message: StoredMessage, recipient: Recipient) -> Iterator[bytes] | None:
    """Return the octets to deliver to `recipient` in pieces; None where the message has been delivered there before."""
    head, rest_from = _header(message)
    # a plugin may have made these addresses: no octet of theirs ends a line
    address = printable(str(recipient.address))
    sender = printable(str(message.reverse_path or ""))
    if address.lower().encode() in (value.strip().lower() for value in _DELIVERED_TO.findall(head)):
        return None
    added = f"Return-Path: <{sender}>\r\nDelivered-To: {address}\r\n".encode()
    pieces: Iterator[bytes] = chain((added, _RETURN_PATH.sub(b"", head)), _rest(message, rest_from))
    return pieces if message.transmission.body is BodyType.BINARY else _with_lf(pieces)


def _header(message: StoredMessage) -> tuple[bytes, int]:
    """Return the fields with the prefix in front, and where in the body they end (before MAX_HEADER, if they go on)."""
    start = message.body.read(0, MAX_HEADER)
    found = _FIELDS.match(start)
    end = found.end() if found else 0
    return message.prefix + start[:end], end


def _rest(message: StoredMessage, start: int) -> Iterator[bytes]:
    """Yield the body from `start`."""
    for piece in message.body.chunks():
        if start < len(piece):
            yield piece[start:]
        start = max(0, start - len(piece))


def _with_lf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield `pieces` with LF for every CRLF, also one that is cut in two."""
    carry = b""
    for piece in pieces:
        text = carry + piece
        carry = b"\r" if text.endswith(b"\r") else b""
        yield (text[:-1] if carry else text).replace(b"\r\n", b"\n")
    yield carry
