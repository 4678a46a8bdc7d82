"""Mail that its receiver takes before our disk does (docs/adr/0007-cut-through.md).

    committed, and the sync takes long -> sent meanwhile -> the receiver's 250 -> ours; or the sync first -> ours

A 250 says that somebody answers for the message from now on: our disk, or whoever has taken it from us for all its recipients. On a slow
disk the second is often known first. Only that of which nothing more follows is answered so: with one recipient that must be tried
again, or whose success the sender wants to hear of, the message waits for the sync like any other.

No more messages than sessions wait here. What was answered stays in the scheduler's memory until its end is durable; where that memory
is full, mail is not sent before its sync, and waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from upesi.mail.ids import MessageId
from upesi.spool.records import Delivery

__all__ = ["Crossing", "CutThrough"]


class Crossing:
    """One message that is sent while it is made durable: how many of its deliveries have not ended, and whether it was answered."""

    __slots__ = ("answer", "answered", "deliveries", "left")

    def __init__(self, born: Sequence[Delivery], answer: Callable[[], None]) -> None:
        self.deliveries = [each.id for each in born]
        self.left = len(born)
        self.answer = answer
        self.answered = False


class CutThrough:
    """The messages of one worker that are sent before they are durable. `enabled` is the operator's choice."""

    __slots__ = ("_crossings", "_loop", "enabled")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, enabled: bool) -> None:
        self._loop = loop
        self._crossings: dict[MessageId, Crossing] = {}
        self.enabled = enabled

    def begin(self, message: MessageId, born: Sequence[Delivery], answer: Callable[[], None]) -> None:
        """Take note that all deliveries of `message` are about to be sent; `answer` is called once all of them are with their receivers."""
        self._crossings[message] = Crossing(born, answer)

    def ended(self, message: MessageId, delivered: bool) -> None:
        """Take note of the end of one delivery; `delivered` is whether all its recipients have the mail, and nothing follows from it."""
        crossing = self._crossings.get(message)
        if crossing is None:
            return
        if not delivered:
            # it never comes down to nought
            crossing.left = -1
            return
        crossing.left -= 1
        if not crossing.left:
            crossing.answered = True
            # not from here: we are amid the reply of a receiver, and a session's troubles are not its connection's
            self._loop.call_soon(crossing.answer)

    def end(self, message: MessageId) -> Crossing | None:
        """Forget `message`, which is durable or was refused; return what is known of it if it was begun."""
        return self._crossings.pop(message, None)
