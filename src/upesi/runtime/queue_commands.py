"""What operators ask of the queue, answered by the supervisor on the spool's own administration (`spool.admin`).

Mail that is in a worker's memory cannot be changed behind its back: before a change, all workers give back what they have not started, and
claim nothing until it is done. What is on the wire at that moment stays ACTIVE, and is counted in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from upesi.control.channel import Call, Handler
from upesi.control.errors import RequestFailed
from upesi.runtime.obstacles import AskWorkers, explained, explained_queues, nobody_knows
from upesi.runtime.quarantine_commands import quarantine_handlers
from upesi.spool.admin import Changed, Selector, SpoolAdmin

__all__ = ["queue_handlers"]

# rows of one answer: a frame has 16 MB
_MOST = 10_000

T = TypeVar("T")


class InThread(Protocol):
    """Runs a call where blocking is allowed."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run `work` and return its result."""
        ...


Recall = Callable[[bool], Awaitable[None]]
# queue keys, none of them for all
Wake = Callable[[list[str]], Awaitable[None]]


class Listing(msgspec.Struct, frozen=True):
    """The arguments of "queue.list"."""

    selector: Selector = Selector()
    limit: int = 1000
    after: int = 0


class Selected(msgspec.Struct, frozen=True):
    """The arguments of what works on a selection."""

    selector: Selector = Selector()


class One(msgspec.Struct, frozen=True):
    """The arguments of what is about one message."""

    id: str


async def nobody_to_wake(queues: list[str]) -> None:
    """Do nothing where no worker runs: none leaves a site alone."""


def queue_handlers(
    admin: SpoolAdmin,
    in_thread: InThread,
    recall: Recall,
    ask_workers: AskWorkers = nobody_knows,
    wake: Wake = nobody_to_wake,
) -> dict[str, Handler]:
    """Return the handlers of "queue.*", "quarantine.*" and "trace".

    `in_thread` runs the synchronous administration where it may; `recall(True)` makes workers give back what they have not
    started, `recall(False)` lets them go on; `ask_workers` says what stands in the way of queues; `wake` ends the pauses of
    their sites.
    """

    async def ask(question: Callable[[], T]) -> T:
        try:
            return await in_thread(question)
        except ValueError as error:
            # a selector that cannot be meant: the operator's text comes back to the operator
            raise RequestFailed(str(error)) from None

    def looking(question: Callable[[Call], Callable[[], object]]) -> Handler:
        return lambda call: ask(question(call))

    async def listed(call: Call) -> object:
        wish = call.arguments_as(Listing)
        rows = await ask(lambda: admin.list(wish.selector, min(wish.limit, _MOST), wish.after))
        return await explained(rows, ask_workers, time.time())

    async def why(call: Call) -> object:
        id = call.arguments_as(One).id
        return await explained(await ask(lambda: admin.why(id)), ask_workers, time.time())

    async def summary(call: Call) -> object:
        return await explained_queues(await ask(admin.summary), ask_workers, time.time())

    async def change(call: Call, wish: Callable[[Selector], T]) -> T:
        selector = call.arguments_as(Selected).selector
        await recall(True)
        try:
            return await ask(lambda: wish(selector))
        finally:
            await recall(False)

    def changing(wish: Callable[[Selector], Changed]) -> Handler:
        async def changed(call: Call) -> object:
            return _counts(await change(call, wish))

        return changed

    async def retried(call: Call) -> object:
        changed = await change(call, admin.retry_now)
        if changed.changed:
            # "now" is meant: not when the pause of an unreachable site is over
            await wake(list(changed.queues))
        return _counts(changed)

    async def cancelled(call: Call) -> object:
        changed, cancelled = await change(call, admin.cancel)
        return {**_counts(changed), "cancelled": cancelled[:_MOST]}

    return {
        "queue.list": listed,
        "queue.count": looking(lambda call: partial(admin.count, call.arguments_as(Selected).selector)),
        "queue.summary": summary,
        "queue.show": looking(lambda call: partial(admin.show, call.arguments_as(One).id)),
        "queue.why": why,
        "trace": looking(lambda call: partial(_trace, admin, call.arguments_as(One).id)),
        **quarantine_handlers(admin, ask),
        "queue.hold": changing(admin.hold),
        "queue.release": changing(admin.release),
        "queue.retry": retried,
        "queue.cancel": cancelled,
    }


def _counts(changed: Changed) -> dict[str, object]:
    return {"changed": changed.changed, "active": changed.active}


def _trace(admin: SpoolAdmin, id: str) -> list[dict[str, object]]:
    return [{"at": event.at, "kind": event.kind, **event.fields} for event in admin.trace(id)]
