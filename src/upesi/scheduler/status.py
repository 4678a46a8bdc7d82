"""What the scheduler says about itself: for `upesi status`, for metrics, and for "why is this message still here" (promise Q8)."""

from __future__ import annotations

import msgspec

from upesi.mail.outcome import Outcome
from upesi.scheduler.paths import Path

__all__ = ["PathStatus", "SchedulerStatus", "Why", "path_status"]


class PathStatus(msgspec.Struct, frozen=True):
    """One site: counts, seconds until it is tried again (0: now), and what it last said that was not a success."""

    queue: str
    ready: int
    in_flight: int
    connections: int
    idle: int
    limit: int
    blocked: float
    failures: int
    backlog: bool
    last: Outcome | None


class SchedulerStatus(msgspec.Struct, frozen=True):
    """The whole worker. `deliveries` are in memory (waiting, in flight or being recorded), `bodies` octets of message data held."""

    deliveries: int
    routing: int
    bodies: int
    connections: int
    paths: int
    paused: bool
    sites: tuple[PathStatus, ...]


class Why(msgspec.Struct, frozen=True):
    """Why mail of a queue waits: `reason` is one of "not-ours", "paused", "routing", "unreachable", "connection-limit",
    "machine-limit", "plugin", "in-turn", "due-later"; `until` in seconds from now where that is known."""

    queue: str
    reason: str
    until: float = 0.0
    last: Outcome | None = None


def path_status(path: Path, now: float) -> PathStatus:
    """Return the status of `path`."""
    return PathStatus(
        path.site,
        len(path.ready),
        sum(len(connection.charges) for connection in path.works),
        len(path.works),
        len(path.idle),
        path.limit.limit,
        max(0.0, path.blocked_until - now),
        path.failures,
        path.backlog,
        path.last,
    )
