"""What operators ask of the queue, answered by the supervisor on the spool's own administration (`spool.admin`).

Mail that is in a worker's memory cannot be changed behind its back: before a change, all workers give back what they have not started, and
claim nothing until it is done. What is on the wire at that moment stays ACTIVE, and is counted in the answer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from upesi.control.channel import Call, Handler
from upesi.control.errors import RequestFailed
from upesi.runtime.obstacles import AskWorkers, explained, explained_queues, nobody_knows
from upesi.runtime.quarantine_commands import quarantine_handlers
from upesi.spool.admin import Changed, Selector, SpoolAdmin
from upesi.spool.listing import Listed

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

    looking = _Looking(admin, ask, ask_workers)
    changing = _Changing(admin, ask, recall, wake)
    return {
        "queue.list": looking.list,
        "queue.count": looking.count,
        "queue.summary": looking.summary,
        "queue.show": looking.show,
        "queue.why": looking.why,
        "trace": looking.trace,
        **quarantine_handlers(admin, ask),
        "queue.hold": changing.hold,
        "queue.release": changing.release,
        "queue.retry": changing.retry,
        "queue.cancel": changing.cancel,
        "queue.bounce": changing.bounce,
    }


class _Looking:
    """What changes nothing; with what the workers know of what stands in the way, where that is asked."""

    __slots__ = ("_admin", "_ask", "_ask_workers")

    def __init__(self, admin: SpoolAdmin, ask: InThread, ask_workers: AskWorkers) -> None:
        self._admin = admin
        self._ask = ask
        self._ask_workers = ask_workers

    async def list(self, call: Call) -> object:
        wish = call.arguments_as(Listing)
        return await self._told(partial(self._admin.list, wish.selector, min(wish.limit, _MOST), wish.after))

    async def _told(self, question: Callable[[], Sequence[Listed]]) -> Sequence[dict[str, object]]:
        """Return the rows that `question` finds as tables, each with what stands in its way or why it was set aside."""
        rows, reasons = await self._ask(partial(self._found, question))
        tables = await explained(rows, self._ask_workers, time.time())
        for row, table in zip(rows, tables, strict=True):
            if row.delivery in reasons:
                table["set_aside"] = reasons[row.delivery]
        return tables

    def _found(self, question: Callable[[], Sequence[Listed]]) -> tuple[Sequence[Listed], dict[int, str]]:
        """Return what `question` finds, and why what is held of it was set aside, by the number of the delivery."""
        rows = question()
        # a row that cannot be read is listed as held, and may name no message
        held = dict.fromkeys(row.message for row in rows if row.state == "held" and not row.problem)
        whys = (why for message in held for why in self._admin.why(message))
        return rows, {why.delivery: why.set_aside for why in whys if why.state == "held"}

    async def count(self, call: Call) -> object:
        return await self._ask(partial(self._admin.count, call.arguments_as(Selected).selector))

    async def summary(self, call: Call) -> object:
        return await explained_queues(await self._ask(self._admin.summary), self._ask_workers, time.time())

    async def show(self, call: Call) -> object:
        shown = await self._ask(partial(self._admin.show, call.arguments_as(One).id))
        if shown is None:
            return None
        return {**msgspec.to_builtins(shown), "deliveries": await self._told(lambda: shown.deliveries)}

    async def why(self, call: Call) -> object:
        rows = await self._ask(partial(self._admin.why, call.arguments_as(One).id))
        return await explained(rows, self._ask_workers, time.time())

    async def trace(self, call: Call) -> object:
        events = await self._ask(partial(self._admin.trace, call.arguments_as(One).id))
        return [{"at": event.at, "kind": event.kind, **event.fields} for event in events]


class _Changing:
    """Changes to a selection, while the workers hold nothing that they have not started."""

    __slots__ = ("_admin", "_ask", "_recall", "_wake")

    def __init__(self, admin: SpoolAdmin, ask: InThread, recall: Recall, wake: Wake) -> None:
        self._admin = admin
        self._ask = ask
        self._recall = recall
        self._wake = wake

    async def hold(self, call: Call) -> object:
        return _counts(await self._change(call, self._admin.hold))

    async def release(self, call: Call) -> object:
        return _counts(await self._change(call, self._admin.release))

    async def retry(self, call: Call) -> object:
        changed = await self._change(call, self._admin.retry_now)
        if changed.changed:
            # "now" is meant: not when the pause of an unreachable site is over
            await self._wake(list(changed.queues))
        return _counts(changed)

    async def cancel(self, call: Call) -> object:
        changed, cancelled = await self._change(call, self._admin.cancel)
        # their senders were to be told
        unreturned = sum(each.returning for each in cancelled)
        return {**_counts(changed), "unreturned": unreturned, "cancelled": cancelled[:_MOST]}

    async def bounce(self, call: Call) -> object:
        return _counts(await self._change(call, self._admin.give_back))

    async def _change(self, call: Call, wish: Callable[[Selector], T]) -> T:
        selector = call.arguments_as(Selected).selector
        await self._recall(True)
        try:
            return await self._ask(lambda: wish(selector))
        finally:
            await self._recall(False)


def _counts(changed: Changed) -> dict[str, object]:
    return {"changed": changed.changed, "active": changed.active}
