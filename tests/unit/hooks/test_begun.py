"""A coroutine whose first step is taken at once: to the plugin it looks as if it had been a task from the beginning."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from upesi.hooks.begun import Begun
from upesi.hooks.verdict import accept, reject
from upesi.testkit import run_virtual

from .hookkit import Bench, answering

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")


def chain_of(function: Callable[..., object]) -> tuple[Bench, object]:
    bench = Bench()
    hooks = bench.hooks(bench.hook("message", function), bench.hook("message", answering(None), "two"))
    return bench, hooks.message.run(bench.session, bench.tx)


def test_a_hook_that_waits_for_nothing_answers_inside_the_call() -> None:
    """No turn of the loop passes, and what follows in the chain runs at once."""

    async def at_once(tx: object) -> object:
        return reject("5.7.1", "No")

    async def main() -> object:
        return chain_of(at_once)[1]

    answer = run_virtual(main())
    assert type(answer) is not Begun
    assert str(answer.reply).startswith("550")  # type: ignore[attr-defined]


def test_the_task_of_the_first_step_is_that_of_the_others() -> None:
    """What asks for the current task keeps the right one: timeouts, task groups, HTTP clients."""
    seen: list[object] = []

    async def hook(tx: object) -> object:
        seen.append(asyncio.current_task())
        async with asyncio.timeout(1), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0.1))
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())
        seen.append(asyncio.current_task())
        return accept()

    async def main() -> None:
        own = asyncio.current_task()
        _, answer = chain_of(hook)
        assert asyncio.current_task() is own
        assert await answer == accept()  # type: ignore[misc]
        assert own not in seen

    run_virtual(main())
    assert len(set(map(id, seen))) == 1


def test_a_deadline_of_the_hooks_own_works_from_its_first_line() -> None:
    """asyncio.timeout cancels the task in which it was entered, and nobody else."""

    async def hook(tx: object) -> object:
        try:
            async with asyncio.timeout(2):
                await asyncio.Event().wait()
        except TimeoutError:
            return reject("5.7.1", "Slow")

    async def main() -> object:
        start = asyncio.get_running_loop().time()
        answer = await chain_of(hook)[1]  # type: ignore[misc]
        assert asyncio.get_running_loop().time() - start == pytest.approx(2)
        return answer

    assert str(run_virtual(main()).reply).startswith("550")  # type: ignore[attr-defined]


def test_what_a_hook_sets_in_its_context_stays_there() -> None:
    """A context of its own, the same one before and behind its first wait."""
    seen: list[str] = []

    async def hook(tx: object) -> None:
        VARIABLE.set("inside")
        await asyncio.sleep(0)
        seen.append(VARIABLE.get())

    async def main() -> None:
        await chain_of(hook)[1]  # type: ignore[misc]
        seen.append(VARIABLE.get())

    run_virtual(main())
    assert seen == ["inside", "outside"]


def test_it_works_from_a_callback_of_the_loop() -> None:
    """A session calls it where there is no current task."""
    answers: list[object] = []

    async def hook(tx: object) -> object:
        assert asyncio.current_task() is not None
        return None

    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: answers.append(chain_of(hook)[1]))
        await asyncio.sleep(0.1)

    run_virtual(main())
    assert answers == [None]


@pytest.mark.parametrize("end", ["cancel", "close", "drop"])
def test_who_lets_go_of_a_chain_lets_go_of_its_hook(end: str) -> None:
    """Cancelled before its first turn, closed, or forgotten: the hook that runs is cancelled."""
    seen: list[str] = []

    async def hook(tx: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        bench, answer = chain_of(hook)
        assert isinstance(answer, Begun)
        if end == "cancel":
            task = asyncio.get_running_loop().create_task(answer)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif end == "close":
            answer.close()
        del answer
        await asyncio.sleep(5)
        assert bench.events == []

    run_virtual(main())
    assert seen == ["cancelled"]


def test_a_loop_that_is_not_there_yet_is_no_hindrance() -> None:
    """A chain that was run outside of a loop begins with whoever awaits it."""

    async def hook(tx: object) -> object:
        return accept()

    _, answer = chain_of(hook)
    assert isinstance(answer, Begun)
    assert run_virtual(_awaited(answer)) == accept()


async def _awaited(answer: Begun) -> object:
    return await answer
