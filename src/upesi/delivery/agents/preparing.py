"""Whether and how a message can be sent to a server with these extensions. Pure; asked once for each message, before MAIL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from upesi.delivery.outcomes import deferred, failed
from upesi.mail.body import READ_SIZE, Body
from upesi.mail.envelope import BodyType, Transmission
from upesi.mail.errors import UnsendableContent, UpesiError
from upesi.mail.outcome import Outcome
from upesi.protocol.smtp.extensions import Extensions
from upesi.protocol.smtp.framing import is_text
from upesi.scheduler.work import Attempt
from upesi.spool.records import StoredMessage

__all__ = [
    "BINARY_REFUSED", "REQUIRETLS_REFUSED", "SMALL", "UTF8_REFUSED",
    "fault", "refusal", "sliced", "transmission_for", "uses_bdat", "whole",
]  # fmt: skip

# Octets up to which a message goes out in one write; larger ones are streamed
SMALL: Final = 64 * 1024

BINARY_REFUSED: Final = failed("5.6.3", "the message has binary content, which the next server does not take")
UTF8_REFUSED: Final = failed("5.6.7", "the message needs SMTPUTF8, which the next server does not offer")
_UNREADABLE: Final = deferred("4.3.0", "the message could not be read from the queue")
_INTERNAL: Final = deferred("4.3.0", "internal error")
REQUIRETLS_REFUSED: Final = failed("5.7.10", "the sender demands REQUIRETLS, which this connection does not fulfil")


def refusal(attempt: Attempt, offered: Extensions, fit: bool) -> Outcome | None:
    """Return why this server can never be sent this message; None if it can. `fit`: the connection is for REQUIRETLS mail."""
    message = attempt.message
    if not fit and message.transmission.requiretls and message.reverse_path is not None:
        # its own site's connections are (RFC 8689 section 4.2.1); this is the last fence, whoever led it here
        return REQUIRETLS_REFUSED
    if offered.size is not None:
        size = len(message.prefix) + message.body.size
        if size > offered.size:
            # C39: nothing above the announced size is sent
            return failed("5.3.4", f"a message of {size} octets is larger than the next server takes ({offered.size})")
    if message.transmission.body is BodyType.BINARY and not offered.binarymime:
        return BINARY_REFUSED
    return UTF8_REFUSED if not offered.smtputf8 and _needs_utf8(attempt) else None


def fault(error: Exception) -> Outcome:
    """Return what an error of ours means for its message: later, unless no attempt can ever go otherwise."""
    if isinstance(error, UnsendableContent):
        return BINARY_REFUSED
    return _UNREADABLE if isinstance(error, OSError | UpesiError) else _INTERNAL


def transmission_for(attempt: Attempt, offered: Extensions, fit: bool) -> Transmission:
    """Return MAIL's parameters as this server can take them. `fit`: the connection is for REQUIRETLS mail.

    Without 8BITMIME, eight-bit content is sent as it is and not declared, as nearly every server does: RFC 6152 would
    have us convert or bounce it, which breaks signatures or loses mail; the bit-stripping servers it meant are gone.
    """
    transmission = attempt.message.transmission
    if transmission.body is BodyType.EIGHT_BIT and not offered.eight_bit:
        transmission = msgspec.structs.replace(transmission, body=BodyType.SEVEN_BIT)
    if transmission.smtputf8 and not offered.smtputf8:
        transmission = msgspec.structs.replace(transmission, smtputf8=False)
    elif offered.smtputf8 and not transmission.smtputf8 and not _ascii_paths(attempt):
        # an alias gave the message an address that only SMTPUTF8 can carry
        transmission = msgspec.structs.replace(transmission, smtputf8=True)
    if transmission.requiretls and not (fit and offered.requiretls):
        # a Unix socket, or a notice: RFC 8689 section 5 would rather have it in clear than lost. `refusal` let nothing else through
        transmission = msgspec.structs.replace(transmission, requiretls=False)
    return transmission


def uses_bdat(attempt: Attempt, offered: Extensions) -> bool:
    """Whether content goes by BDAT: small text, where it saves a round trip, and BINARYMIME, which has no other way.

    RFC 3030 section 3: only BINARYMIME content may break the rule that every line ends with CRLF; DATA checks that as it goes.
    """
    message = attempt.message
    if not offered.chunking or message.transmission.body is BodyType.BINARY:
        return offered.chunking
    small = len(message.prefix) + message.body.size <= SMALL
    return small and is_text((whole(message),))


def whole(message: StoredMessage) -> bytes:
    """Return the content of a small message as one piece: one copy costs less than handling two pieces everywhere behind it."""
    body = message.body
    return message.prefix + body.read(0, body.size)


def sliced(body: Body) -> Iterator[bytes]:
    """Yield the body in pieces of at most READ_SIZE, so that a large one held in memory is not handed to the transport whole."""
    for chunk in body.chunks():
        if len(chunk) <= READ_SIZE:
            yield chunk
        else:
            yield from (chunk[at : at + READ_SIZE] for at in range(0, len(chunk), READ_SIZE))


def _ascii_paths(attempt: Attempt) -> bool:
    path = attempt.message.reverse_path
    return (path is None or path.is_ascii) and all(recipient.address.is_ascii for recipient in attempt.recipients)


def _needs_utf8(attempt: Attempt) -> bool:
    """Whether only SMTPUTF8 can carry the message (RFC 6531 section 3.4): an address or the header is beyond ASCII.

    A message that came with SMTPUTF8 but needs none of it goes on without.
    """
    if not _ascii_paths(attempt):
        return True
    message = attempt.message
    if not message.transmission.smtputf8:
        return False
    header = (message.prefix + message.body.read(0, SMALL)).partition(b"\r\n\r\n")[0]
    return not header.isascii()
