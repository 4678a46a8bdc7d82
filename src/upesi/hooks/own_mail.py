"""Mail that this server writes itself, such as notices of delivery and reports, and the plugins that put fields on top of it.

It does not come through a session, so it meets none of their hooks: a plugin that signs asks for the service `own_mail` and leaves a
function. What fails there leaves the message as it is, with an event: a notice without a signature is better than none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from upesi.hooks.guard import Emit

__all__ = ["OwnMail"]

# From the octets of a message to the whole fields that come on top, each with its CRLF; empty for none
Finish: TypeAlias = Callable[[bytes], bytes]


class OwnMail:
    """The service `own_mail` of one worker."""

    __slots__ = ("_emit", "_finishes")

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._finishes: list[Finish] = []

    def on_top(self, finish: Finish) -> None:
        """Have `finish` called with every such message, in any thread; it takes no longer than a signature. For the constructor."""
        self._finishes.append(finish)

    def finished(self, message: bytes) -> bytes:
        """Return `message` with the fields of all plugins on top, the last one's first."""
        for finish in self._finishes:
            try:
                message = finish(message) + message
            except Exception as error:
                self._emit("notice.unsigned", {"error": type(error).__name__})
        return message
