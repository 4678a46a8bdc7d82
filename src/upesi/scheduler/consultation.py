"""What plugins say to outcomes before they are recorded: when to try again, and whether the sender gets a notice.

Where every answer comes at once, everything happens within the call. Else one task waits for the answers of one delivery, which stays in
memory meanwhile, so there are no more of them than `memory_deliveries`. `delivered` has no answer: it runs beside the recording,
`NOTICES` of them at once, and beyond that the recording waits for it: a slow plugin slows sending down, and misses nothing.

An outcome is recorded whatever happens here: when the worker ends, what was not answered counts as no opinion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Sequence
from typing import TypeAlias

from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.scheduler.hooks import SHORTEST, DeliveryHooks
from upesi.scheduler.tasks import Emit, Tasks
from upesi.spool.records import StoredMessage

__all__ = ["NOTICES", "Consultation", "Steps"]

# `delivered` hooks that run beside the recording
NOTICES = 1000

# Yields what must be awaited and is sent the answers; a consultation in which nothing is to be awaited ends at once
_Waiting: TypeAlias = list[Awaitable[object]]
Steps: TypeAlias = Generator[_Waiting, list[object], None]


class Consultation:
    """Asks `hooks`."""

    __slots__ = ("_emit", "_ended", "_hooks", "_notices", "_tasks")

    def __init__(self, hooks: DeliveryHooks, tasks: Tasks, emit: Emit) -> None:
        self._hooks = hooks
        self._tasks = tasks
        self._emit = emit
        self._notices = 0
        self._ended = False

    def needs_message(self, outcomes: Sequence[Outcome]) -> bool:
        """Whether somebody is to be asked about one of these outcomes, who will want to see the message."""
        wanted = {
            OutcomeKind.DELIVERED: self._hooks.delivered,
            OutcomeKind.DEFERRED: self._hooks.deferred,
            OutcomeKind.FAILED: self._hooks.bounced,
        }
        return any(wanted[outcome.kind] is not None for outcome in outcomes)

    def run(self, steps: Steps) -> None:
        """Go through `steps`, in a task if something must be awaited."""
        try:
            waiting = next(steps)
        except StopIteration:
            return
        self._tasks.run(self._drive(steps, waiting))

    def heard(
        self,
        message: StoredMessage,
        sent: Sequence[Recipient],
        outcomes: Sequence[Outcome],
        now: float,
        due: float,
        expires: float,
    ) -> Generator[_Waiting, list[object], list[float]]:
        """Tell `delivered` and ask `deferred`; return when to try each recipient again: `due` where nobody says otherwise.

        What has expired by `due` is not deferred, it will have failed.
        """
        delays: dict[int, object] = {}
        waiting: _Waiting = []
        asked: list[int] = []
        for index, (recipient, outcome) in enumerate(zip(sent, outcomes, strict=True)):
            answer: object = None
            if outcome.kind is OutcomeKind.DELIVERED:
                if self._hooks.delivered is not None:
                    answer = self._beside(self._hooks.delivered(message, recipient, outcome))
            elif outcome.kind is OutcomeKind.DEFERRED and due <= expires and self._hooks.deferred is not None:
                answer = self._hooks.deferred(message, recipient, outcome)
            if isinstance(answer, Awaitable):
                waiting.append(answer)
                asked.append(index)
            elif answer is not None:
                delays[index] = answer
        if waiting:
            answers = yield waiting
            delays.update(zip(asked, answers, strict=True))
        return [
            now + max(SHORTEST, delay) if isinstance(delay := delays.get(index), float) else due
            for index in range(len(sent))
        ]

    def silenced(
        self, message: StoredMessage, failed: tuple[tuple[Recipient, Outcome], ...]
    ) -> Generator[_Waiting, list[object], tuple[tuple[Recipient, Outcome], ...]]:
        """Ask `bounced` about each of `failed`; return those of whom the sender is told."""
        hook = self._hooks.bounced
        if hook is None or self._ended or not failed:
            return failed
        answers: list[object] = [hook(message, recipient, outcome) for recipient, outcome in failed]
        waiting = [answer for answer in answers if isinstance(answer, Awaitable)]
        if waiting:
            later = iter((yield waiting))
            answers = [next(later) if isinstance(answer, Awaitable) else answer for answer in answers]
        return tuple(each for each, answer in zip(failed, answers, strict=True) if answer is not True)

    def _beside(self, answer: Awaitable[None] | None) -> Awaitable[None] | None:
        """Let `answer` run beside the recording; return it where too many do."""
        if answer is None or self._notices >= NOTICES:
            return answer
        self._notices += 1
        self._tasks.run(self._notice(answer))
        return None

    async def _notice(self, awaitable: Awaitable[None]) -> None:
        try:
            await awaitable
        finally:
            self._notices -= 1

    async def _drive(self, steps: Steps, waiting: _Waiting) -> None:
        try:
            while True:
                waiting = steps.send(await self._answers(waiting))
        except StopIteration:
            return

    async def _answers(self, waiting: _Waiting) -> list[object]:
        """Return the answers, all asked at once; None for what failed in our own code (plugins' failures are contained below)."""
        try:
            answers = await asyncio.gather(*waiting, return_exceptions=True)
        except asyncio.CancelledError:
            # the worker ends. What was delivered must be recorded now: unrecorded it would be sent twice (promise Q2)
            self._ended = True
            return [None] * len(waiting)
        for answer in answers:
            if isinstance(answer, BaseException):
                self._emit("scheduler.failed", {"error": type(answer).__name__, "text": str(answer)})
        return [None if isinstance(answer, BaseException) else answer for answer in answers]
