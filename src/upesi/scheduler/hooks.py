"""What plugins may say about deliveries, as the scheduler asks it: plain callables, which `runtime` makes from the chains of hooks.

None at a point means that there is nobody to ask, and nothing is spent on asking. A callable answers at once or with an awaitable; it
contains the failures of plugins and bounds their time itself, so that what comes back is always an answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec

from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome
from upesi.mail.route import Route
from upesi.spool.records import Delivery, StoredMessage

__all__ = ["SHORTEST", "AttemptAnswer", "DeliveryHooks", "Postpone"]

# Seconds: a plugin that says "again in 0 s" must not make a tight loop of store and receiver
SHORTEST = 1.0


class Postpone(msgspec.Struct, frozen=True):
    """No attempt now, `outcome` says why.

    With a `delay` (seconds) nothing was tried, so no attempt is counted; without one it is an attempt that failed (the plugin
    did), and the retry schedule says when the next one is.
    """

    outcome: Outcome
    delay: float | None = None


AttemptAnswer: TypeAlias = Postpone | Route | None

_Attempt = Callable[[StoredMessage, Delivery], AttemptAnswer | Awaitable[AttemptAnswer]]
_Delivered = Callable[[StoredMessage, Recipient, Outcome], Awaitable[None] | None]
_Deferred = Callable[[StoredMessage, Recipient, Outcome], float | Awaitable[float | None] | None]
_Bounced = Callable[[StoredMessage, Recipient, Outcome], bool | Awaitable[bool]]


class DeliveryHooks(msgspec.Struct, frozen=True):
    """Whom to ask.

    `attempt` before a delivery is sent; for each recipient afterwards `delivered`, `deferred` (may say after how many seconds to try
    again) or `bounced` (may say that the sender gets no notice).
    """

    attempt: _Attempt | None = None
    delivered: _Delivered | None = None
    deferred: _Deferred | None = None
    bounced: _Bounced | None = None

    @property
    def outcomes(self) -> bool:
        """Whether anybody wants to hear of outcomes."""
        return self.delivered is not None or self.deferred is not None or self.bounced is not None
