"""Whom a command asks: the running server through its control socket, or, where none runs, the spool itself.

Both answer the same requests ("queue.list", ...) with the same plain values, because both end in the same handlers
(`runtime.queue_commands`); no command knows which it was. The spool's lock decides: who holds it answers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol, TypeVar

from upesi.cli.options import Target
from upesi.config.settings import Config
from upesi.control.client import ControlClient
from upesi.control.errors import RequestFailed, ServerDown

__all__ = ["Backend", "connected", "server_of"]

T = TypeVar("T")

# recalling mail from all workers and changing a million rows takes its time
_TIMEOUT = 120.0


class Backend(Protocol):
    """Answers requests."""

    def request(self, name: str, arguments: object = None) -> object:
        """Return the result of the request `name`; raise UpesiError."""
        ...


@contextmanager
def server_of(target: Target) -> Iterator[Backend]:
    """Give the running server; raise ServerDown."""
    with ControlClient(target.socket, timeout=_TIMEOUT) as client:
        yield client


@contextmanager
def connected(target: Target) -> Iterator[Backend]:
    """Give the running server, or the spool under its lock where there is none; raise SpoolLocked where one runs but does not answer.

    Where a socket was named only the server behind it is meant.
    """
    try:
        client = ControlClient(target.socket, timeout=_TIMEOUT)
    except ServerDown:
        if target.named:
            raise
        with _offline(target.config) as spool:
            yield spool
        return
    with client:
        yield client


class Offline:
    """The handlers of the control socket, called in this process."""

    __slots__ = ("_handlers",)

    def __init__(self, handlers: Mapping[str, Callable[..., object]]) -> None:
        self._handlers = handlers

    def request(self, name: str, arguments: object = None) -> object:
        """Return the result of the request `name`, as plain values, as they would have come over the socket."""
        import asyncio

        import msgspec

        from upesi.control.channel import Call

        handler = self._handlers.get(name)
        if handler is None:
            raise RequestFailed(f"{name} needs a running server")
        # through msgpack and back, as over the socket: a command must not come to rely on objects
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(arguments))
        result = handler(Call(name, sent))
        if isinstance(result, Awaitable):
            result = asyncio.run(_awaited(result))
        return msgspec.msgpack.decode(msgspec.msgpack.encode(result))


async def _awaited(result: Awaitable[object]) -> object:
    return await result


@contextmanager
def _offline(config: Config) -> Iterator[Offline]:
    from pathlib import Path

    from upesi.runtime.obstacles import nobody_sends
    from upesi.runtime.queue_commands import queue_handlers
    from upesi.spool.admin import SpoolAdmin
    from upesi.spool.schema import DATABASE_NAME

    # looking at a queue must not make one
    if not (Path(config.spool.path) / DATABASE_NAME).exists():
        raise ServerDown(f"no server answers at {config.control.socket}, and there is no spool at {config.spool.path}")

    async def at_once(work: Callable[[], T]) -> T:
        return work()

    async def nobody_to_recall(hold: bool) -> None:
        return None

    admin = SpoolAdmin.open_or_create(config.spool, owner=config.node.user)
    try:
        yield Offline(queue_handlers(admin, at_once, nobody_to_recall, nobody_sends))
    finally:
        admin.close()
