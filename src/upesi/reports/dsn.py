"""Failure notices: delivery status notifications (RFC 3461, RFC 3464) in a multipart/report (RFC 6522).

A notice goes to the reverse-path from the null reverse-path, so that two hosts never bounce at each other (RFC 5321 section 6.1). It
says for people what happened, for programs the same as fields, and gives back the header or the message. Nothing remote shapes it: all
text is reduced to one printable line and folded (CVE-2020-8794), and what is quoted is cut to `MAX_RETURNED`.

Success and delay notices are not written here.
"""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable
from email.utils import formatdate

from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import BodyType, Notify, Recipient, ReturnContent, Transmission
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome
from upesi.mail.reply import printable
from upesi.mail.route import Route
from upesi.spool.records import DeliveryState, NewDelivery, NewMessage, StoredMessage, stored

__all__ = ["MAX_HEADER", "MAX_RETURNED", "DsnReporter"]

# RET=FULL gives back a message up to this size, else its header: a notice is no way to send 25 MB twice
MAX_RETURNED = 50_000
# A header longer than this is cut at a line's end
MAX_HEADER = 32_768
# Recipients named one by one for people; the fields name all
_NAMED = 50
# RFC 5322 section 2.1.1: lines should have at most 78 characters, and must not have more than 998
_FOLD = 76
_LONGEST = 998

# Made of the first octets of the message id (its time) and of a digest: the same notice has the same id, and no two have the same
_TIME = 6


class DsnReporter:
    """Implements `scheduler.work.Reporter`.

    `route_for` and `place` say where mail to the reverse-path goes and waits; `lifetime` is how long a notice is tried, in seconds;
    `boundary` makes a MIME boundary of an id.
    """

    def __init__(
        self,
        hostname: str,
        place: Callable[[Route], tuple[str, DeliveryState]],
        route_for: Callable[[Address], Route],
        lifetime: float,
        boundary: Callable[[MessageId], str] = lambda id: f"=_{id.hex()}",
    ) -> None:
        self._hostname = hostname
        self._place = place
        self._route_for = route_for
        self._lifetime = lifetime
        self._boundary = boundary

    def refused(self, message: NewMessage, recipients: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage | None:
        """Return the notice for recipients of a message that were refused while it was being accepted, after its data."""
        digest = hashlib.sha256(b"refused" + message.id).digest()
        id = MessageId(message.id[:_TIME] + digest[: len(message.id) - _TIME])
        return self.failed(stored(message), recipients, id, message.received)

    def failed(
        self, message: StoredMessage, recipients: tuple[tuple[Recipient, Outcome], ...], id: MessageId, now: float
    ) -> NewMessage | None:
        """Return the notice about `recipients`; None for the null reverse-path and where nobody wants one (RFC 3461 section 4.1)."""
        to = message.reverse_path
        named = tuple((recipient, outcome) for recipient, outcome in recipients if _wanted(recipient))
        if to is None or not named:
            return None
        octets = self._notice(message, to, named, id, now)
        eight_bit = not octets.isascii()
        utf8 = not to.is_ascii or any(not recipient.address.is_ascii for recipient, _ in named)
        transmission = Transmission(BodyType.EIGHT_BIT if eight_bit else BodyType.SEVEN_BIT, smtputf8=utf8)
        route = self._route_for(to)
        queue, state = self._place(route)
        # RFC 3461 section 6.2: a notice must not cause another
        recipient = Recipient(to, notify=Notify.NEVER)
        delivery = NewDelivery(queue, route, (recipient,), now, now + self._lifetime, state)
        return NewMessage(
            id, now, None, transmission, b"", MemoryBody(octets), (delivery,), {"report-for": message.id.hex()}
        )

    # -- the message --------------------------------------------------------------------------------------------------

    def _notice(
        self,
        message: StoredMessage,
        to: Address,
        failed: tuple[tuple[Recipient, Outcome], ...],
        id: MessageId,
        now: float,
    ) -> bytes:
        boundary = self._boundary(id)
        subtype, returned = _returned(message)
        text = self._for_people(failed)
        parts = (
            (f"text/plain; charset={_charset(text)}", text.encode()),
            self._for_programs(message, failed, now),
            (subtype, returned),
        )
        out = bytearray(self._header(to, boundary, id, now, eight_bit=any(not data.isascii() for _, data in parts)))
        for content_type, data in parts:
            out += f"--{boundary}\r\nContent-Type: {content_type}\r\n".encode()
            if not data.isascii():
                out += b"Content-Transfer-Encoding: 8bit\r\n"
            out += b"\r\n" + data + (b"" if data.endswith(b"\r\n") else b"\r\n")
        out += f"--{boundary}--\r\n".encode()
        return bytes(out)

    def _header(self, to: Address, boundary: str, id: MessageId, now: float, *, eight_bit: bool) -> bytes:
        fields = (
            ("Date", formatdate(now)),
            ("From", f"Mail Delivery System <MAILER-DAEMON@{self._hostname}>"),
            # a plugin may have made it: no octet of it ends the line
            ("To", f"<{printable(str(to))}>"),
            ("Subject", "Undelivered mail returned to sender"),
            ("Message-ID", f"<{id.hex()}@{self._hostname}>"),
            ("Auto-Submitted", "auto-replied"),  # RFC 3834 section 5: nothing answers this by itself
            ("MIME-Version", "1.0"),
            ("Content-Type", f'multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"'),
            # RFC 2045 section 6.4: a composite type is 7bit, 8bit or binary
            ("Content-Transfer-Encoding", "8bit" if eight_bit else "7bit"),
        )
        return "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n"

    def _for_people(self, failed: tuple[tuple[Recipient, Outcome], ...]) -> str:
        lines = [
            f"This is the mail system at {self._hostname}.",
            "",
            "Your message could not be delivered to the recipients below.",
            "It will not be tried again. The reasons are those that the",
            "receiving side gave, where it gave any.",
            "",
        ]
        for recipient, outcome in failed[:_NAMED]:
            who = f" ({printable(outcome.remote)} said)" if outcome.remote else ""
            said = f"{outcome.code} {outcome.text}" if outcome.code else outcome.text
            lines.append(f"<{printable(str(recipient.address))}>:")
            lines += _wrapped(f"{printable(said)}{who}", "    ", "    ")
            lines.append("")
        if len(failed) > _NAMED:
            lines += [f"and {len(failed) - _NAMED} more, listed in the next part.", ""]
        return "\r\n".join(lines)

    def _for_programs(
        self, message: StoredMessage, failed: tuple[tuple[Recipient, Outcome], ...], now: float
    ) -> tuple[str, bytes]:
        """Return the fields of RFC 3464 section 2 with their media type: per message, then per recipient, an empty line before each."""
        fields = []
        if message.transmission.envid is not None:
            fields.append(("Original-Envelope-Id", message.transmission.envid))
        fields.append(("Reporting-MTA", f"dns; {self._hostname}"))
        fields.append(("Arrival-Date", formatdate(message.received)))
        blocks = [_block(fields)]
        blocks += [_block(_recipient_fields(recipient, outcome, now)) for recipient, outcome in failed]
        text = "\r\n".join(blocks)
        if all(recipient.address.is_ascii for recipient, _ in failed):
            # only an address is worth a type that few programs read; a receiver's umlauts are not
            return "message/delivery-status", text.encode("ascii", "replace")
        return "message/global-delivery-status", text.encode()  # RFC 6533 section 3


def _wanted(recipient: Recipient) -> bool:
    """Whether a failure of this recipient is told of: by default, and with NOTIFY=FAILURE (RFC 3461 section 4.1)."""
    return recipient.notify is None or bool(recipient.notify & Notify.FAILURE)


def _recipient_fields(recipient: Recipient, outcome: Outcome, now: float) -> list[tuple[str, str]]:
    fields = []
    if recipient.original is not None:
        kind, _, value = recipient.original.partition(";")
        fields.append(("Original-Recipient", f"{kind}; {value}"))
    # RFC 6533 section 3: an address beyond ASCII has its own type
    kind = "rfc822" if recipient.address.is_ascii else "utf-8"
    fields.append(("Final-Recipient", f"{kind}; {recipient.address}"))
    fields.append(("Action", "failed"))
    fields.append(("Status", outcome.status or "5.0.0"))
    if outcome.remote:
        # "mx.example [192.0.2.1]": the name is the field's value, the address its comment
        name, _, rest = outcome.remote.partition(" ")
        fields.append(("Remote-MTA", f"dns; {name}" + (f" ({rest})" if rest else "")))
    if outcome.code:
        fields.append(("Diagnostic-Code", f"smtp; {_diagnostic(outcome)}"))
    fields.append(("Last-Attempt-Date", formatdate(now)))
    return fields


def _diagnostic(outcome: Outcome) -> str:
    status = "" if outcome.text.startswith(outcome.status) else f"{outcome.status} "
    return f"{outcome.code} {status}{outcome.text}".rstrip()


def _block(fields: list[tuple[str, str]]) -> str:
    return "".join(f"{_folded(name, value)}\r\n" for name, value in fields)


def _folded(name: str, value: str) -> str:
    """Return a field on lines of a bearable length (RFC 5322 section 2.2.3); no remote octet can end a line or begin a field."""
    return "\r\n".join(_wrapped(f"{name}: {printable(value)}", "", "\t"))


def _wrapped(text: str, first: str, then: str) -> list[str]:
    lines = textwrap.wrap(
        text, _FOLD, initial_indent=first, subsequent_indent=then, break_long_words=False, break_on_hyphens=False
    )
    return [line[:_LONGEST] for line in lines] or [first.rstrip()]


def _charset(text: str) -> str:
    return "us-ascii" if text.isascii() else "utf-8"


def _returned(message: StoredMessage) -> tuple[str, bytes]:
    """Return the media type and octets of what is given back: all of it where RET=FULL asked and it is small, else its header.

    Without RET a failure notice returns what its writer likes (RFC 3461 section 4.3): the header. A BINARYMIME message is never
    returned whole: its octets fit no line (RFC 3030 section 3).
    """
    size = len(message.prefix) + message.body.size
    full = message.transmission.ret is ReturnContent.FULL and message.transmission.body is not BodyType.BINARY
    if full and size <= MAX_RETURNED:
        octets = message.prefix + message.body.read(0, message.body.size)
        if _sendable(octets):
            return ("message/global" if message.transmission.smtputf8 else "message/rfc822"), octets
    octets = _header_of(message)
    beyond = message.transmission.smtputf8 and not octets.isascii()
    return ("message/global-headers" if beyond else "text/rfc822-headers"), octets


def _header_of(message: StoredMessage) -> bytes:
    """Return the header with its last CRLF, cut at a line's end where it is too long; lines that no line may be are left out."""
    octets = message.prefix + message.body.read(0, MAX_HEADER)
    end = 0 if octets.startswith(b"\r\n") else octets.find(b"\r\n\r\n") + 2
    if end == 1:
        # no empty line in what was read: a message of header only, or a header without end
        end = octets.rfind(b"\r\n") + 2 if b"\r\n" in octets else 0
    header = octets[:end][:MAX_HEADER]
    header = header[: header.rfind(b"\r\n") + 2] if b"\r\n" in header else b""
    return b"".join(line + b"\r\n" for line in header.split(b"\r\n")[:-1] if _sendable(line))


def _sendable(octets: bytes) -> bool:
    """Whether octets may stand in mail as they are: no NUL, no bare CR or LF, no line beyond 998 octets (RFC 5322 section 2.3)."""
    lines = octets.split(b"\r\n")
    return not any(len(line) > _LONGEST or b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
