"""A notice as octets: multipart/report with its three parts (RFC 6522, RFC 3464 section 2, RFC 3834)."""

from __future__ import annotations

import hashlib
from email.utils import formatdate

from upesi.mail.address import Address
from upesi.mail.ids import MessageId
from upesi.mail.reply import printable
from upesi.reports.case import Case
from upesi.reports.fields import status_part
from upesi.reports.returned import returned_part
from upesi.reports.wording import subject, text_part

__all__ = ["PartOctets", "boundary_of", "joined", "notice"]

# the media type of a part, and what is in it
PartOctets = tuple[str, bytes]


def notice(case: Case, to: Address, id: MessageId, hostname: str) -> bytes:
    """Return the whole message with the id `id`."""
    text = text_part(case, hostname)
    parts = (
        (f"text/plain; charset={'us-ascii' if text.isascii() else 'utf-8'}", text.encode()),
        status_part(case, hostname),
        returned_part(case),
    )
    boundary = boundary_of(id, parts)
    eight_bit = any(not data.isascii() for _, data in parts)
    return _header(case, to, id, hostname, boundary, eight_bit=eight_bit) + joined(parts, boundary)


def joined(parts: tuple[PartOctets, ...], boundary: str) -> bytes:
    """Return the body of a multipart."""
    out = bytearray()
    for content_type, data in parts:
        out += f"--{boundary}\r\nContent-Type: {content_type}\r\n".encode()
        if not data.isascii():
            out += b"Content-Transfer-Encoding: 8bit\r\n"
        out += b"\r\n" + data + (b"" if data.endswith(b"\r\n") else b"\r\n")
    out += f"--{boundary}--\r\n".encode()
    return bytes(out)


def boundary_of(id: MessageId, parts: tuple[PartOctets, ...]) -> str:
    """Return a boundary that stands in no part (RFC 2046 section 5.1.1).

    A stranger cannot know the id of a notice; one who has guessed it cannot end the part that his message is in all the same.
    """
    boundary = id.hex()
    # ends: the parts are bounded, and so is what can stand in them
    while any(boundary.encode() in data for _, data in parts):
        boundary = hashlib.sha256(boundary.encode()).hexdigest()
    return f"=_{boundary}"


def _header(case: Case, to: Address, id: MessageId, hostname: str, boundary: str, *, eight_bit: bool) -> bytes:
    fields = (
        ("Date", formatdate(case.now)),
        ("From", f"Mail Delivery System <MAILER-DAEMON@{hostname}>"),
        # a plugin may have made it: no octet of it ends the line
        ("To", f"<{printable(str(to))}>"),
        ("Subject", subject(case)),
        ("Message-ID", f"<{id.hex()}@{hostname}>"),
        ("Auto-Submitted", "auto-replied"),  # RFC 3834 section 5: nothing answers this by itself
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"'),
        # RFC 2045 section 6.4: a composite type is 7bit, 8bit or binary
        ("Content-Transfer-Encoding", "8bit" if eight_bit else "7bit"),
    )
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n"
