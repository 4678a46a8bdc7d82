"""The time that a sender has set for delivery, on the way to the next server (DELIVERBY, RFC 2852). Pure; asked before MAIL.

With mode R a message never goes to a server that does not promise the same, nor after its time; with mode N it goes anyhow.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from upesi.delivery.outcomes import failed
from upesi.mail.envelope import Transmission
from upesi.mail.outcome import Outcome
from upesi.mail.timing import ByMode
from upesi.protocol.smtp.extensions import Extensions

__all__ = ["overdue", "seconds_left"]

_OVER: Final = failed("5.4.7", "the time that the sender set for delivery is over")
_NO_PROMISE: Final = failed(
    "5.3.3", "the sender set a time for delivery (DELIVERBY), which the next server cannot promise"
)
_TOO_LITTLE: Final = failed("5.4.7", "less time is left than the next server needs to promise delivery")


def overdue(transmission: Transmission, offered: Extensions, now: float, *, final: bool) -> Outcome | None:
    """Return why the message may not go to this server any more; None if it may. `final`: the server delivers, and promises nothing."""
    by = transmission.by
    if by is None or by.mode is ByMode.NOTIFY:
        return None
    left = by.at - now
    if left <= 0:
        return _OVER
    if offered.deliver_by is None:
        return None if final else _NO_PROMISE
    return _TOO_LITTLE if left < offered.deliver_by else None


def seconds_left(transmission: Transmission, now: float) -> int | None:
    """Return what stands in BY for the next server; None where nothing does. Zero has no meaning with mode R, so it is rounded up."""
    return None if transmission.by is None else ceil(transmission.by.at - now)
