"""When a message may go, when it must have gone, and before whom: what its sender asked of time (RFC 2852, RFC 4865, RFC 6710).

Values only. Times are wall-clock seconds.
"""

from __future__ import annotations

import enum

import msgspec

__all__ = ["HEAD_START", "ByMode", "DeliverBy", "Timing"]

# Seconds for which a message is taken to be older than it is, for each step of its priority: so the queue of a site, which is in order of
# due times, lets it go before what came up to nine minutes earlier, and nobody waits for ever behind a stream of urgent mail (Q6)
HEAD_START = 60.0


class ByMode(enum.StrEnum):
    """What happens when the time of DELIVERBY has passed (RFC 2852 section 4)."""

    RETURN = "R"
    NOTIFY = "N"


class DeliverBy(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The BY parameter: deliver until `at`; `trace` asks every server on the way for a notice."""

    at: float
    mode: ByMode
    trace: bool = False


class Timing(msgspec.Struct, frozen=True, gc=False):
    """What was granted: nothing is sent before `release`, nor after `deadline`; who waits at `notice` is told of.

    `head_start` (seconds) may be negative.

    `lowered` says that a higher priority was asked for than this client may have.
    """

    release: float = 0.0
    deadline: float | None = None
    notice: float | None = None
    head_start: float = 0.0
    lowered: bool = False

    def held(self, now: float) -> bool:
        """Whether nothing may be sent yet."""
        return self.release > now

    def due(self, now: float) -> float:
        """Return when the first attempt is due, as the order of the queue counts."""
        return self.release if self.release > now else now - self.head_start

    def expires(self, now: float, lifetime: float) -> float:
        """Return when the message is given up: `lifetime` seconds after it may go, or at its deadline."""
        end = max(now, self.release) + lifetime
        return end if self.deadline is None else min(end, self.deadline)
