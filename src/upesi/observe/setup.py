"""Events as `[log]` asks for them, and the standard library's own messages (asyncio's, most of all) among them."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping

from upesi.config.settings import LogFormat, LogSettings
from upesi.observe.console import console_renderer
from upesi.observe.events import Events, Renderer, Value, render_json
from upesi.observe.sink import FileSink

__all__ = ["StandardLog", "make_events", "report_loop_errors", "report_unraisable"]


def make_events(
    settings: LogSettings,
    *,
    now: Callable[[], float],
    loop: asyncio.AbstractEventLoop | None = None,
    common: Mapping[str, Value] | None = None,
) -> Events:
    """Return the `Events` of this process (call it after forking: there is a thread in it). Raise OSError if the file cannot be opened."""
    return Events(FileSink(settings.file), render=_renderer(settings), now=now, loop=loop, common=common)


def _renderer(settings: LogSettings) -> Renderer:
    terminal = not settings.file and os.isatty(2)
    if settings.format is LogFormat.JSON or (settings.format is LogFormat.AUTO and not terminal):
        return render_json
    return console_renderer(colour=terminal and "NO_COLOR" not in os.environ)


class StandardLog(logging.Handler):
    """Turns warnings and errors of the standard `logging` into "log.NAME" events: asyncio and libraries write there."""

    def __init__(self, events: Events, level: int = logging.WARNING) -> None:
        super().__init__(level)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Report `record`; from whatever thread, since libraries' threads write too."""
        fields: dict[str, Value] = {"level": record.levelname.lower(), "text": record.getMessage()}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            self._events.failure(f"log.{record.name}", error, fields)
        else:
            self._events.emit(f"log.{record.name}", fields)


def report_loop_errors(loop: asyncio.AbstractEventLoop, events: Events) -> None:
    """Report what the event loop could not give to anybody: exceptions in callbacks and in tasks that nobody awaited."""

    def report(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        fields: dict[str, Value] = {"text": str(context.get("message", ""))}
        if isinstance(error, BaseException):
            events.failure("loop.failed", error, fields)
        else:
            events.emit("loop.failed", fields)

    loop.set_exception_handler(report)


def report_unraisable(events: Events) -> None:
    """Report errors that Python could give to nobody, of finalizers and of callbacks from C, in this whole process.

    One kind is left out: a client that asks for a host in octets that are no name (TLS-11). Python fails to decode it before any code of
    ours runs, and would write a traceback for each; the session's own event tells of it.
    """

    def report(unraisable: sys.UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        if error is not None and not isinstance(error, UnicodeDecodeError):
            events.failure("loop.failed", error, {"text": unraisable.err_msg or ""})

    sys.unraisablehook = report
