"""The envelope of a mail transaction: reverse-path, recipients, and the parameters that go with them."""

from __future__ import annotations

import enum

import msgspec

from upesi.mail.address import Address
from upesi.mail.handling import NO_LABELS, Labels
from upesi.mail.timing import DeliverBy

__all__ = ["TOLD", "BodyType", "Notify", "Recipient", "ReturnContent", "Transmission"]

# of a recipient whose sender has had the notice of delay, or is not to have one
TOLD = float("inf")


class BodyType(enum.StrEnum):
    """The BODY parameter of MAIL (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class ReturnContent(enum.StrEnum):
    """The RET parameter of MAIL (RFC 3461 section 4.3): what a failure report gives back."""

    FULL = "FULL"
    HEADERS = "HDRS"


class Notify(enum.IntFlag):
    """The NOTIFY parameter of RCPT (RFC 3461 section 4.1). Without the parameter: FAILURE and DELAY."""

    NEVER = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4


class Recipient(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One recipient as it will be sent on: forward-path and RFC 3461 parameters.

    `original` is the ORCPT value ("rfc822;a@b", xtext decoded); None where none was given. `notify` None means the default.
    `tell_delay` is when the sender is told that the mail still waits (RFC 2852, mode N): None by the general rule, TOLD never again.
    `labels` are what plugins called this mail.
    """

    address: Address
    original: str | None = None
    notify: int | None = None
    tell_delay: float | None = None
    labels: Labels = NO_LABELS


class Transmission(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What MAIL said besides the reverse-path, and must be kept for the next hop.

    `requiretls`: the message may only travel over verified TLS, to servers that promise the same (RFC 8689). `priority` is that of
    RFC 6710, -9 to 9; `by` the time of DELIVERBY (RFC 2852).
    """

    body: BodyType = BodyType.SEVEN_BIT
    smtputf8: bool = False
    ret: ReturnContent | None = None
    envid: str | None = None
    requiretls: bool = False
    priority: int = 0
    by: DeliverBy | None = None
