"""What a verb's handler gives back to the connection: replies, nothing, or that the answer comes later.

So handlers are plain functions and never touch a task, a timer or a transport.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Final

from upesi.mail.reply import Reply

__all__ = ["COMMITTING", "SECURING", "Answer", "Later", "Slowed", "Waiting"]


class Later(enum.Enum):
    """There is no reply yet: it will be given to the engine's `answered`, or the session begins anew under TLS."""

    COMMITTING = "committing"
    # say 220; what comes next is the handshake
    SECURING = "securing"


COMMITTING: Final = Later.COMMITTING
SECURING: Final = Later.SECURING


class Waiting:
    """An asynchronous chain is to be awaited; what it gives goes to `then`, which gives the answer or waits again."""

    __slots__ = ("awaitable", "then")

    def __init__(self, awaitable: Awaitable[object], then: Callable[[object], Answer]) -> None:
        self.awaitable = awaitable
        self.then = then


class Slowed:
    """A reply that is to be said late. It is a value of its own so that the usual path need not ask whether a session is to be slowed."""

    __slots__ = ("reply",)

    def __init__(self, reply: Reply) -> None:
        self.reply = reply


# a tuple is LMTP's one reply per recipient (RFC 2033 section 4.2); None is an event that gets no reply
Answer = Reply | Slowed | tuple[Reply, ...] | Waiting | Later | None
