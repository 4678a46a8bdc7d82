"""What operators ask of the quarantine (`spool.quarantine`), beside the queue's own commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from upesi.control.channel import Call, Handler
from upesi.spool.admin import SpoolAdmin

__all__ = ["Ask", "quarantine_handlers"]

T = TypeVar("T")

# octets of one piece of content: far below a frame
_PIECE = 1_000_000


class Ask(Protocol):
    """Asks the synchronous administration where it may block; what cannot be meant becomes RequestFailed."""

    def __call__(self, question: Callable[[], T], /) -> Awaitable[T]:
        """Ask, and return the answer."""
        ...


class Limit(msgspec.Struct, frozen=True):
    """The arguments of "quarantine.list"."""

    limit: int = 1000


class Piece(msgspec.Struct, frozen=True):
    """The arguments of "quarantine.content"."""

    id: str
    start: int = 0


class Release(msgspec.Struct, frozen=True):
    """The arguments of "quarantine.release"."""

    id: str
    damaged_body: bool = False


class One(msgspec.Struct, frozen=True):
    """The arguments of what is about one message."""

    id: str


def quarantine_handlers(admin: SpoolAdmin, ask: Ask) -> dict[str, Handler]:
    """Return the handlers of "quarantine.*"."""
    quarantine = admin.quarantine

    def content(call: Call) -> Awaitable[object]:
        piece = call.arguments_as(Piece)
        return ask(partial(quarantine.content, piece.id, piece.start, _PIECE))

    async def release(call: Call) -> object:
        wish = call.arguments_as(Release)
        return {"released": await ask(partial(quarantine.release, wish.id, damaged_body=wish.damaged_body))}

    async def delete(call: Call) -> object:
        return {"deleted": await ask(partial(quarantine.delete, call.arguments_as(One).id))}

    return {
        "quarantine.list": lambda call: ask(partial(quarantine.list, min(call.arguments_as(Limit).limit, 1000))),
        "quarantine.show": lambda call: ask(partial(quarantine.show, call.arguments_as(One).id)),
        "quarantine.content": content,
        "quarantine.release": release,
        "quarantine.delete": delete,
    }
