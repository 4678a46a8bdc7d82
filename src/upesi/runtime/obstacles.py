"""What stands in the way of queued mail, as the workers that own its queues say it (Q8): added to what the spool says of each delivery.

The spool knows when a delivery is due; only the scheduler of the owning worker knows that its site is left alone for a while, or
that all connections are busy. A worker that does not answer leaves its queues unexplained, never the answer undone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from upesi.mail.outcome import Outcome
from upesi.spool.listing import Listed, QueueSummary, Why

__all__ = ["AskWorkers", "Obstacle", "explained", "explained_queues", "nobody_knows", "nobody_sends"]

# queues asked about at once: a question of a megabyte at most
_MOST_QUEUES = 4000

_WAITING = ("routing", "ready", "active")

# queue keys -> what workers said, as plain values
AskWorkers = Callable[[list[str]], Awaitable[list[object]]]


class Obstacle(msgspec.Struct, frozen=True):
    """One queue: why what is due in it is not being sent, for how many seconds that is known to last, what its site last said."""

    queue: str
    reason: str
    until: float = 0.0
    last: Outcome | None = None


async def nobody_knows(queues: list[str]) -> list[object]:
    """Answer where no worker can be asked."""
    return []


async def nobody_sends(queues: list[str]) -> list[object]:
    """Answer where no server runs: "now" would be a promise that nobody keeps."""
    return [msgspec.to_builtins(Obstacle(queue, "stopped")) for queue in queues]


async def explained(rows: Sequence[Listed | Why], ask: AskWorkers, now: float) -> list[dict[str, object]]:
    """Return `rows` as tables with "reason", and "blocked_until" (Unix time) and "site_last" where there is such a thing."""
    known = await _known((row.queue for row in rows if row.state in _WAITING), ask, now)
    tables = [msgspec.to_builtins(row) for row in rows]
    return [{**table, **known.get(table["queue"], {})} if table["state"] in _WAITING else table for table in tables]


async def explained_queues(rows: Sequence[QueueSummary], ask: AskWorkers, now: float) -> list[dict[str, object]]:
    """Return `rows` as tables with the same fields, where something waits: a summary must not promise what a listing does not."""
    known = await _known((row.queue for row in rows if row.next_due is not None), ask, now)
    return [{**msgspec.to_builtins(row), **known.get(row.queue, {})} for row in rows]


async def _known(queues: Iterable[str], ask: AskWorkers, now: float) -> dict[str, dict[str, object]]:
    asked = list(dict.fromkeys(queues))[:_MOST_QUEUES]
    known: dict[str, dict[str, object]] = {}
    for said in await ask(asked) if asked else []:
        obstacle = msgspec.convert(said, Obstacle)
        known[obstacle.queue] = _fields(obstacle, now)
    return known


def _fields(obstacle: Obstacle, now: float) -> dict[str, object]:
    fields: dict[str, object] = {"reason": obstacle.reason}
    if obstacle.until > 0:
        fields["blocked_until"] = now + obstacle.until
    if obstacle.last is not None:
        fields["site_last"] = msgspec.to_builtins(obstacle.last)
    return fields
