"""How a session's ETRN reaches the queue: by the supervisor, as an operator's `upesi queue retry` does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from upesi.config.settings import EtrnSettings
from upesi.session.etrn import QueueStart

__all__ = ["Ask", "make_etrn"]

# asks the supervisor: name of the request, arguments; raises UpesiError
Ask = Callable[[str, object], Awaitable[object]]


class _Counts(msgspec.Struct, frozen=True):
    changed: int = 0
    active: int = 0


def make_etrn(settings: EtrnSettings, ask: Ask | None) -> QueueStart | None:
    """Return the way to start a queue; None where nobody may ask, or there is nobody to ask."""
    if ask is None or not (settings.networks or settings.identities):
        return None

    async def start(selector: dict[str, str]) -> int:
        counts = msgspec.convert(await ask("queue.retry", {"selector": selector}), _Counts)
        return counts.changed + counts.active

    return QueueStart(settings, start)
