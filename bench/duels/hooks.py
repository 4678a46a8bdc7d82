"""What a plugin's hook costs: plain ones, and asynchronous ones that have their answer at once, in a chain as a session runs it."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import cast

import uvloop

from bench.errors import BenchError
from bench.result import Claim, Figure, Result
from bench.setting import Setting
from upesi.hooks.begun import Begun
from upesi.hooks.chain import Chain
from upesi.hooks.guard import Guard
from upesi.hooks.hook import Hook
from upesi.hooks.points import POINTS
from upesi.hooks.session import Client, Session, Transaction
from upesi.hooks.verdict import Verdict, accept
from upesi.mail.envelope import Transmission
from upesi.mail.ids import MessageId

__all__ = ["HooksDuel"]

# hooks of one chain: what one costs is the difference to a chain of one, so that the call of the chain is not counted
_HOOKS = 11
# us, by the plan of the project
_INLINE = 0.3
_AT_ONCE = 5.0
# runs of the chain in one turn of the loop, and how many such turns
_BATCH = 20
_BATCHES = 300
_ACCEPT = accept()


def _silent(tx: Transaction, recipient: object) -> None:
    return None


def _voting(tx: Transaction, recipient: object) -> Verdict:
    return _ACCEPT


async def _at_once(tx: Transaction, recipient: object) -> None:
    return None


async def _suspending(tx: Transaction, recipient: object) -> None:
    await asyncio.sleep(0)


class HooksDuel:
    """One hook of a chain at RCPT, by kind."""

    name = "hooks"
    title = "What one hook of a plugin costs, in microseconds"

    def run(self, setting: Setting) -> Result:
        """Measure."""
        result = Result(self.name, self.title, "", ("hook", "us (rounds)"))
        for text, function, most in (
            ("plain, no opinion", _silent, _INLINE),
            ("plain, a vote", _voting, _INLINE),
            ("asynchronous, answers at once", _at_once, _AT_ONCE),
            ("asynchronous, waits for one turn of the loop", _suspending, None),
        ):
            figure = Figure([uvloop.run(_cost(function)) for _ in range(setting.rounds)])
            result.rows.append((text, str(figure)))
            if most is not None:
                result.claims.append(Claim(f"a hook: {text}", figure.median, "us", most=most))
        result.notes.append(
            f"Processor time: the difference between a chain of {_HOOKS} and a chain of one, divided; the turns of the loop included."
        )
        return result


async def _cost(function: Callable[..., object]) -> float:
    many, one = await _seconds(function, _HOOKS), await _seconds(function, 1)
    return (many - one) / (_HOOKS - 1) * 1e6


async def _seconds(function: Callable[..., object], hooks: int) -> float:
    """Return what a chain takes, the median of some runs."""
    loop = asyncio.get_running_loop()
    guard = Guard("bench", time.monotonic, _failed)
    point = POINTS["rcpt"]
    chain: Chain[Verdict] = Chain(point, tuple(Hook(point, guard, function) for _ in range(hooks)))
    session = Session("bench", Client("192.0.2.1", 4711), "bench")
    tx = Transaction(session, MessageId(bytes(16)), None, Transmission(), None)

    waiting: list[asyncio.Task[object]] = []

    def run() -> None:
        for _ in range(_BATCH):
            answer = chain.run(session, tx, "recipient")
            if answer is not None and answer is not _ACCEPT:
                waiting.append(loop.create_task(cast("Begun", answer)))

    times: list[float] = []
    for _ in range(_BATCHES):
        start = time.process_time()
        # as a session does: from a callback of the loop, and with the turns that come of it
        loop.call_soon(run)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if waiting:
            await asyncio.wait(waiting)
            waiting.clear()
        times.append((time.process_time() - start) / _BATCH)
    return statistics.median(times)


def _failed(event: str, fields: dict[str, object]) -> None:
    raise BenchError(f"{event}: {fields}")
