"""The supervisor's end of the machine-wide connection limit: the allocator of `limits.shares`, spoken to over the workers' channels."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from upesi.control.channel import Call, Handler
from upesi.limits.shares import Allocator, ShareGrant, ShareRecall, ShareRequest, ShareReturn
from upesi.runtime.process import WorkerProcess

__all__ = ["ShareLedger"]

_NOTICE = {ShareGrant: "share.granted", ShareRecall: "share.recalled"}


class ShareLedger:
    """Passes requests and returns to the allocator, and its answers to the workers."""

    def __init__(self, allocator: Allocator, worker: Callable[[int], WorkerProcess | None]) -> None:
        self._allocator = allocator
        self._worker = worker
        self._members: set[str] = set()

    def join(self, epoch: int) -> None:
        """A worker is ready."""
        self._members.add(str(epoch))
        self._send(self._allocator.join(str(epoch), 0, _now()))

    def gone(self, epoch: int) -> None:
        """A worker's process has ended, and its connections with it."""
        if str(epoch) in self._members:
            self._members.discard(str(epoch))
            self._send(self._allocator.gone(str(epoch), _now()))

    def balance(self) -> None:
        """Let turns end."""
        self._send(self._allocator.balance(_now()))

    def resize(self, total: int) -> None:
        """Take note of a new limit."""
        self._allocator.total = total
        self.balance()

    def handlers(self, epoch: int) -> Mapping[str, Handler]:
        """What a worker may say about shares."""
        member = str(epoch)

        def requested(call: Call) -> None:
            if member in self._members:
                self._send(self._allocator.request(member, call.arguments_as(ShareRequest), _now()))

        def returned(call: Call) -> None:
            if member in self._members:
                self._send(self._allocator.returned(member, call.arguments_as(ShareReturn), _now()))

        return {"share.requested": requested, "share.returned": returned}

    def _send(self, messages: list[tuple[str, ShareGrant | ShareRecall]]) -> None:
        for member, message in messages:
            if (worker := self._worker(int(member))) is not None:
                worker.notify(_NOTICE[type(message)], message)


def _now() -> float:
    return asyncio.get_running_loop().time()
