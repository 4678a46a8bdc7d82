"""Mail that is thrown away on purpose; the event of its delivery says so."""

from __future__ import annotations

import asyncio

from upesi.delivery.agents.local import LocalSending
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.scheduler.work import Attempt, Running, Work

__all__ = ["DiscardAgent"]

_DISCARDED = Outcome(OutcomeKind.DELIVERED, 0, "2.0.0", "discarded")


class DiscardAgent:
    """Reports every recipient as delivered."""

    __slots__ = ("_loop",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def start(self, work: Work) -> Running:
        """Discard what `work` gives."""
        return LocalSending(self._loop, work, self._discard)

    async def _discard(self, attempt: Attempt) -> tuple[Outcome, ...]:
        await asyncio.sleep(0)  # let others run between two messages
        return (_DISCARDED,) * len(attempt.recipients)
