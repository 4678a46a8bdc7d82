"""What MAIL may ask for beyond delivery, and what is granted: REQUIRETLS (RFC 8689), FUTURERELEASE (RFC 4865), DELIVERBY (RFC 2852)
and MT-PRIORITY (RFC 6710).

The grammar is known in `protocol.smtp.requests`; here stands what depends on the session and on the time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from upesi.hooks.session import Transaction
from upesi.mail.envelope import Transmission
from upesi.mail.reply import Reply
from upesi.mail.timing import HEAD_START, ByMode, DeliverBy, Timing
from upesi.protocol.smtp.limits import ServerLimits
from upesi.protocol.smtp.requests import ByRequest, Requests
from upesi.session import replies

if TYPE_CHECKING:
    from upesi.session.engine import SessionEngine

__all__ = ["Granted", "changing_keywords", "grant", "wants_no_tls"]


class Granted(msgspec.Struct, frozen=True, gc=False):
    """What becomes of the requests: kept for the next hop, and for our queue (None: nothing special)."""

    transmission: Transmission
    timing: Timing | None


def changing_keywords(limits: ServerLimits, now: float) -> tuple[str, ...]:
    """Return the extensions that EHLO names differently from time to time."""
    if not limits.future_release:
        return ()
    # RFC 4865 section 4: the longest interval and the last moment
    last = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + limits.future_release))
    return (f"FUTURERELEASE {limits.future_release:d} {last}",)


def grant(engine: SessionEngine, transmission: Transmission, requests: Requests) -> Granted | Reply:
    """Return what is granted, or the reply that refuses."""
    session, limits, now = engine.session, engine.context.limits, engine.context.now()
    if requests.requiretls and session.tls is None:
        return replies.REQUIRETLS_NEEDS_TLS
    release = _release(requests, now)
    if release > now + limits.future_release:
        return replies.HELD_TOO_LONG
    by = requests.by
    if by is not None and by.mode is ByMode.RETURN:
        if by.seconds < limits.deliver_by:
            return replies.BY_TOO_SOON
        if now + by.seconds <= release:
            return replies.BY_BEFORE_RELEASE
    # C110: whoever we do not know may let others go first, not overtake them
    trusted = session.relaying or session.identity is not None
    priority = requests.priority if trusted else min(0, requests.priority)
    kept = msgspec.structs.replace(
        transmission, requiretls=requests.requiretls, priority=priority, by=_deliver_by(by, now)
    )
    return Granted(kept, _timing(kept, release, lowered=priority != requests.priority))


def wants_no_tls(tx: Transaction) -> bool:
    """Whether the message's header says "TLS-Required: No", once and nothing else; REQUIRETLS overrules it (RFC 8689 section 4.1)."""
    return not tx.transmission.requiretls and [value.lower() for value in tx.headers.all("TLS-Required")] == ["no"]


def _release(requests: Requests, now: float) -> float:
    if requests.hold_for is not None:
        return now + requests.hold_for
    # a moment that has passed by the time it is read holds nothing
    return requests.hold_until or 0.0


def _deliver_by(by: ByRequest | None, now: float) -> DeliverBy | None:
    return None if by is None else DeliverBy(now + by.seconds, by.mode, by.trace)


def _timing(kept: Transmission, release: float, *, lowered: bool) -> Timing | None:
    by = kept.by
    deadline = by.at if by is not None and by.mode is ByMode.RETURN else None
    notice = by.at if by is not None and by.mode is ByMode.NOTIFY else None
    if not (release or by or kept.priority or lowered):
        return None
    return Timing(release, deadline, notice, kept.priority * HEAD_START, lowered)
