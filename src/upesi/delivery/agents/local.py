"""Delivery that keeps no connection: what Maildir, programs, web services and discard have in common.

One `Running` handles one message at a time and ends when there is no more: starting another costs nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from upesi.delivery.outcomes import deferred
from upesi.mail.outcome import Outcome
from upesi.scheduler.work import Attempt, Ending, Work

__all__ = ["Deliver", "LocalSending", "SiteDown"]

# Delivers one attempt for `Work`'s destination; returns one outcome for each recipient
Deliver = Callable[[Attempt], Awaitable[tuple[Outcome, ...]]]


class SiteDown(Exception):
    """Nobody is there to take mail: `outcomes` are the attempt's, one for each recipient, the last of them says why."""

    def __init__(self, outcomes: tuple[Outcome, ...]) -> None:
        super().__init__(outcomes[-1].text)
        self.outcomes = outcomes


class LocalSending:
    """Takes messages until there are none, delivering each by `deliver`."""

    __slots__ = ("_deliver", "_loop", "_stopping", "_task", "_work")

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Work, deliver: Deliver) -> None:
        self._loop = loop
        self._work = work
        self._deliver = deliver
        self._stopping = False
        self._task = loop.create_task(self._run())

    def wake(self) -> None:
        """Nothing to do: it never rests."""

    def stop(self) -> None:
        """End after the message at hand: half a delivery is none."""
        self._stopping = True

    async def _run(self) -> None:
        work = self._work
        while not self._stopping and (attempt := work.take()) is not None:
            try:
                outcomes = await self._outcomes(attempt)
            except SiteDown as down:
                work.finish(attempt, down.outcomes)
                work.ended(Ending.UNREACHABLE, down.outcomes[-1])
                return
            work.finish(attempt, outcomes)
        work.ended(Ending.CLOSED)

    async def _outcomes(self, attempt: Attempt) -> tuple[Outcome, ...]:
        try:
            return await self._deliver(attempt)
        except SiteDown:
            raise
        except Exception as error:
            # contained: one message that cannot be handled must not end the delivery of others
            self._loop.call_exception_handler({"message": "local delivery failed", "exception": error})
            return (deferred("4.3.0", "internal error during local delivery"),) * len(attempt.recipients)
