"""Lets plugins hear a message while it comes (`Transaction.listen`): they stand between the session and the body that is written.

A session that nobody listens to has no such writer, and pays nothing for it.
"""

from __future__ import annotations

from upesi.hooks.guard import Emit
from upesi.hooks.session import Listener
from upesi.mail.body import Body
from upesi.session.intake import BodyWriter
from upesi.spool.store import SpoolError

__all__ = ["ListenedWriter", "ListenerFailed"]


class ListenerFailed(SpoolError):
    """A listener raised. The message is deferred: a check that must see it did not."""


class ListenedWriter:
    """Writes a message's octets and tells the listeners."""

    __slots__ = ("_emit", "_listeners", "_writer")

    def __init__(self, writer: BodyWriter, listeners: tuple[Listener, ...], emit: Emit) -> None:
        self._writer = writer
        self._listeners = listeners
        self._emit = emit

    def write(self, data: bytes) -> None:
        """Append `data`; raise SpoolError, ListenerFailed."""
        self._writer.write(data)
        for listener in self._listeners:
            try:
                listener.feed(data)
            # whatever a plugin raises, SystemExit too: it must neither end the session without an answer nor the worker
            except BaseException as error:
                raise self._failed(listener, error) from error

    def finish(self) -> Body:
        """Return the message when all have heard its end; raise SpoolError, ListenerFailed."""
        body = self._writer.finish()
        for listener in self._listeners:
            try:
                listener.finish()
            except BaseException as error:
                raise self._failed(listener, error) from error
        return body

    def discard(self) -> None:
        """Let go of what was written."""
        self._listeners = ()
        self._writer.discard()

    def _failed(self, listener: Listener, error: BaseException) -> ListenerFailed:
        kind = type(listener)
        fields: dict[str, object] = {"plugin": kind.__module__, "hook": "data", "where": kind.__qualname__}
        self._emit("plugin.failed", {**fields, "reason": "it raised while it heard a message", "exception": error})
        return ListenerFailed("a listener failed")
