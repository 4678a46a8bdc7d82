"""What operators and monitoring reach: the control socket's requests, the metrics page, health.

The supervisor is asked for what it knows (`Supervisor` here is a `typing.Protocol` of that); nothing here decides about workers or mail.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

import msgspec

from upesi.config.settings import Config
from upesi.control.channel import Call, Handler
from upesi.control.server import ControlServer
from upesi.mail.errors import UpesiError
from upesi.observe.exposition import Merge
from upesi.observe.health import HealthServer, health_pages
from upesi.observe.metrics import Metrics
from upesi.runtime.messages import Asked
from upesi.runtime.observer import count_queue
from upesi.runtime.queue_commands import queue_handlers
from upesi.spool.admin import SpoolAdmin

__all__ = ["CannotListen", "Operators"]

T = TypeVar("T")


class CannotListen(UpesiError):
    """The control socket or the metrics page cannot be had; the text says which, why, and what to do."""


class _InThread(Protocol):
    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]: ...


class _Supervisor(Protocol):
    """What is asked of the supervisor."""

    @property
    def config(self) -> Config: ...
    @property
    def trouble(self) -> str: ...
    @property
    def addresses(self) -> list[tuple[str, int]]: ...
    @property
    def doubted(self) -> Sequence[str]: ...
    def crew(self) -> list[dict[str, object]]: ...
    def tell_all(self, name: str) -> None: ...
    async def ask_all(self, name: str, timeout: float, arguments: object = None) -> dict[int, object]: ...
    async def reload(self) -> int: ...
    def stop(self) -> None: ...


class Operators:
    """Listens for operators, and answers them."""

    def __init__(
        self,
        supervisor: _Supervisor,
        admin: SpoolAdmin,
        in_thread: _InThread,
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._supervisor = supervisor
        self._admin = admin
        self._in_thread = in_thread
        self._failed = failed
        self._merge = Merge()
        # what only the supervisor can count, merged like a worker's
        self._own = Metrics()
        self._health: HealthServer | None = None
        self._control: ControlServer | None = None
        self._retry: Handler | None = None

    async def listen(self) -> None:
        """Make the control socket, and the metrics page if there is to be one; raise CannotListen."""
        config = self._supervisor.config
        queue = queue_handlers(self._admin, self._in_thread, self._recall, self._why, self._wake)
        self._retry = queue["queue.retry"]
        handlers: dict[str, Handler] = {
            "ping": lambda call: {"pid": os.getpid()},
            "status": lambda call: self._status(),
            "reload": lambda call: self._reload(),
            "stop": self._stop,
            **queue,
        }
        self._control = ControlServer(config.control.socket, handlers, failed=self._failed)
        try:
            await self._control.start()
        except OSError as error:
            raise CannotListen(
                f"control.socket cannot listen on {config.control.socket}: {error.strerror or error}; "
                "its folder must exist and be ours to write to"
            ) from error
        if config.metrics.port:
            await self._listen_for_monitoring(config)

    async def _listen_for_monitoring(self, config: Config) -> None:
        pages = health_pages(self._exposition, healthy=lambda: "", ready=lambda: self._supervisor.trouble)
        self._health = HealthServer(pages, failed=lambda error: self._failed("metrics", error))
        try:
            await self._health.start(config.metrics.address, config.metrics.port)
        except OSError as error:
            raise CannotListen(
                f"metrics cannot listen on {config.metrics.address} port {config.metrics.port}: {error.strerror}; "
                "change metrics.address or metrics.port (0 for none)"
            ) from error

    async def close(self) -> None:
        """Stop listening."""
        if self._control is not None:
            await self._control.stop()
        if self._health is not None:
            await self._health.stop()

    # -- what the supervisor says

    def retry(self, call: Call) -> object:
        """Answer a worker whose client wants a queue started (ETRN), as an operator is answered."""
        assert self._retry is not None, "listen comes before any worker"
        return self._retry(call)

    def counted(self, epoch: int, snapshot: bytes) -> None:
        """Take the counts of a worker; those that cannot be read cost their own refresh, and not the page of all others."""
        try:
            self._merge.update(str(epoch), snapshot)
        except msgspec.DecodeError as error:
            self._failed("metrics", error)

    def retired(self, epoch: int) -> None:
        """Keep the totals of a worker that has ended, and forget its gauges."""
        self._merge.retire(str(epoch))

    # -- answers

    async def _reload(self) -> dict[str, object]:
        return {"workers": await self._supervisor.reload(), "warnings": self._supervisor.doubted}

    def _stop(self, call: Call) -> dict[str, object]:
        self._supervisor.stop()
        return {"pid": os.getpid(), "drain": float(self._supervisor.config.node.drain)}

    async def _recall(self, hold: bool) -> None:
        """Have every worker give back what it has not started (`hold`), or go on (not `hold`)."""
        if hold:
            await self._supervisor.ask_all("recall", 5.0)
        else:
            self._supervisor.tell_all("resume")

    async def _why(self, queues: list[str]) -> list[object]:
        """Ask the workers why mail of `queues` is not being sent this moment."""
        answers = await self._supervisor.ask_all("why", 2.0, Asked(queues))
        return [said for answer in answers.values() if isinstance(answer, list) for said in answer]

    async def _wake(self, queues: list[str]) -> None:
        """Have the workers end the pauses of the sites of `queues` (of all sites where none is named), before the operator is answered."""
        await self._supervisor.ask_all("wake", 2.0, Asked(queues))

    async def _status(self) -> dict[str, object]:
        answers = await self._supervisor.ask_all("status", 2.0)
        workers: list[dict[str, object]] = []
        for worker in self._supervisor.crew():
            epoch = worker["epoch"]
            workers.append({**worker, "status": answers.get(epoch) if isinstance(epoch, int) else None})
        return {
            "pid": os.getpid(),
            "listeners": [f"{address}:{port}" for address, port in self._supervisor.addresses],
            "spool": self._supervisor.config.spool.path,
            "workers": workers,
            "queues": await self._in_thread(self._admin.summary),
        }

    async def _exposition(self) -> bytes:
        for epoch, snapshot in (await self._supervisor.ask_all("metrics", 2.0)).items():
            if isinstance(snapshot, bytes):
                self.counted(epoch, snapshot)
        count_queue(self._own, await self._in_thread(self._admin.totals), time.time())
        self._merge.update("supervisor", self._own.export())
        return self._merge.text()
