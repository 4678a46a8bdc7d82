"""Wide events: one per session, transaction and attempt, named `noun.verb` ("transaction.accepted", "delivery.deferred").

What clients and remote servers wrote comes through here on its way to files, terminals and collectors, so every field is cleaned here
and nowhere else: one line each, no control, line-separator or bidirectional characters, bounded (LOG-01). Message content and
credentials are never passed in. Lines are handed to a `Sink`, which never makes the event loop wait (LOG-02).

This is a writer of its own and not structlog: an event of twelve fields costs 2 us here and 9 us there (Python 3.11), and every message
causes two or three.
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final, Protocol, TypeVar

import msgspec

from upesi.mail.reply import printable

__all__ = ["MAX_FIELD", "MAX_TRACEBACK", "Events", "Renderer", "Sink", "Value", "render_json"]

Value = str | int | float | bool | bytes | None | Iterable["Value"] | Mapping[str, "Value"]
T = TypeVar("T")
Renderer = Callable[[dict[str, object]], bytes]

# LOG-01: no field may drown the others; 2 kB holds the longest SMTP reply anyone has a use for
MAX_FIELD: Final = 2048
# the innermost frames are at the end, and they are what is kept
MAX_TRACEBACK: Final = 8192
# lists and tables in a field: recipients of a large transaction are counted, not listed
_MAX_ITEMS: Final = 50
_MAX_DEPTH: Final = 4
# lines wait at most so long, so that a busy worker makes 20 writes a second and not one for each event
_FLUSH_SECONDS: Final = 0.05
_FLUSH_BYTES: Final = 65536
# octets by their numbers: to look for bytes of one octet costs four times as much
_BACKSLASH: Final = 0x5C
_DEL: Final = 0x7F
_PLAIN: Final = frozenset((int, float, bool, type(None)))
_SIMPLE: Final = _PLAIN | {str}

render_json: Renderer = msgspec.json.Encoder().encode


class Sink(Protocol):
    """Where finished lines go. Neither call may block."""

    @property
    def dropped(self) -> int:
        """How many events were lost so far because the other end did not take them."""
        ...

    def write(self, lines: bytes, count: int) -> None:
        """Take `count` whole lines, or drop and count them."""
        ...

    def close(self) -> None:
        """Write out what was taken, within a bound."""
        ...


class Events:
    """Takes events. One for each process; everything that reports gets it, or its `emit`, passed in."""

    __slots__ = (
        "_buffer",
        "_common",
        "_home",
        "_loop",
        "_millisecond",
        "_now",
        "_prefix",
        "_render",
        "_reported",
        "_second",
        "_sink",
        "_size",
        "_stamped",
        "_timer",
    )

    def __init__(
        self,
        sink: Sink,
        *,
        render: Renderer = render_json,
        now: Callable[[], float],
        loop: asyncio.AbstractEventLoop | None = None,
        common: Mapping[str, Value] | None = None,
    ) -> None:
        """Write events to `sink`, each with the fields of `common` (the worker's number).

        Make it on the loop's thread; events may come from any. Without a `loop`, every event is handed on at once (command
        line, before the loop runs).
        """
        self._sink = sink
        self._render = render
        self._now = now
        self._loop = loop
        self._home = threading.get_ident()
        self._common = {key: _clean(value) for key, value in (common or {}).items()}
        self._buffer: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._second = self._millisecond = -1
        self._prefix = self._stamped = ""
        self._reported = 0

    def emit(self, name: str, fields: Mapping[str, Value]) -> None:
        """Report the event `name` ("noun.verb"). Never raises, never blocks; keys are ours, values may be anybody's."""
        if self._render is render_json and _SIMPLE.issuperset(map(type, fields.values())):
            line = _plain({"time": self._stamp(), "event": name, **self._common, **fields})
            if line:
                self._take(line)
                return
        record: dict[str, object] = {"time": self._stamp(), "event": name, **self._common}
        for key, value in fields.items():
            kind = type(value)
            if kind is str:
                # isprintable() is False for every character that LOG-01 names, and costs 30 ns
                record[key] = value if len(value) <= MAX_FIELD and value.isprintable() else _text(value)  # type: ignore[arg-type,union-attr]
            else:
                record[key] = value if kind in _PLAIN else _contained(value)
        self._put(record)

    def failure(self, name: str, error: BaseException, fields: Mapping[str, Value]) -> None:
        """Report `error` with its traceback under the event `name`; the second time the same exception comes by, without."""
        details: dict[str, Value] = {**fields, "error": _shown(error)}
        record: dict[str, object] = {"time": self._stamp(), "event": name, **self._common}
        record.update((key, _clean(value)) for key, value in details.items())
        try:
            if not getattr(error, "__upesi_reported__", False):
                text = "".join(traceback.format_exception(error))
                record["traceback"] = [printable(line, MAX_FIELD) for line in text[-MAX_TRACEBACK:].splitlines()]
                error.__upesi_reported__ = True  # type: ignore[attr-defined]
        except AttributeError:
            pass  # an exception with slots: reported in full each time
        except BaseException:
            # one of a plugin's own, which fails when it is looked at
            record["traceback"] = ["cannot be shown"]
        self._put(record)

    def flush(self) -> None:
        """Hand everything to the sink now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        dropped = self._sink.dropped
        if dropped > self._reported:
            # told in the stream itself as soon as it flows again: a gap must not look like silence. With what is written now,
            # not by a write of its own: a sink that takes nothing more (it is closed) would lose that one too, and so on
            lost, self._reported = dropped - self._reported, dropped
            self._buffer.append(
                self._render({"time": self._stamp(), "event": "log.dropped", **self._common, "events": lost})
            )
        if self._buffer:
            lines, count = b"\n".join(self._buffer) + b"\n", len(self._buffer)
            self._buffer.clear()
            self._size = 0
            self._sink.write(lines, count)

    @property
    def dropped(self) -> int:
        """How many events were lost so far."""
        return self._sink.dropped

    def close(self) -> None:
        """Write out everything, within the sink's bound."""
        self._loop = None
        self.flush()
        self._sink.close()

    def _put(self, record: dict[str, object]) -> None:
        try:
            line = self._render(record)
        except Exception as error:  # whatever a plugin passed in must not break the mail it belongs to
            line = render_json(
                {"time": record["time"], "event": record["event"], "error": f"not writable: {error!r:.200}"}
            )
        self._take(line)

    def _take(self, line: bytes) -> None:
        loop = self._loop
        if loop is not None and threading.get_ident() != self._home:
            # the store's and libraries' threads report too; buffer and timer belong to the loop's thread
            try:
                loop.call_soon_threadsafe(self._take, line)
            except RuntimeError:
                pass  # the loop has ended, and what is reported this late with it
            return
        self._buffer.append(line)
        self._size += len(line)
        if self._loop is None or self._size >= _FLUSH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(_FLUSH_SECONDS, self._due)

    def _due(self) -> None:
        self._timer = None
        self.flush()

    def _stamp(self) -> str:
        """Return the time as RFC 3339 with milliseconds, formatted once for all events of one; the date once a second."""
        millisecond = int(self._now() * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second, rest = divmod(millisecond, 1000)
            if second != self._second:
                self._second = second
                self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamped = f"{self._prefix}.{rest:03d}Z"
        return self._stamped


def _shown(error: BaseException) -> str:
    """Return what `error` says. A plugin's own may do anything when it is asked: nothing of that must end the mail that it belongs to."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException:
        return type(error).__name__


def _plain(record: dict[str, object]) -> bytes:
    """Return the line of a record in which nothing needs cleaning, which is nearly every one; empty where something may.

    Written first and looked at then, all fields at once, at half the cost: JSON escapes what LOG-01 names with a backslash, but for DEL and
    what is beyond ASCII, and no field is longer than its line.
    """
    try:
        line = render_json(record)
    except Exception:  # a surrogate, a number that is too large: the long way knows what to do
        return b""
    return line if len(line) <= MAX_FIELD and line.isascii() and not (_BACKSLASH in line or _DEL in line) else b""


def _text(value: str) -> str:
    if len(value) > MAX_FIELD:
        return f"{printable(value, MAX_FIELD - 24)}... ({len(value)} in all)"
    return printable(value, MAX_FIELD)


def _clean(value: Value, depth: int = 0) -> object:
    """Return `value` fit for a line: bounded in length, width and depth, whatever it is."""
    if isinstance(value, str):
        return _text(str(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _text(bytes(value[: MAX_FIELD + 1]).decode("utf-8", "backslashreplace"))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if depth >= _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {_text(str(key)): _clean(item, depth + 1) for key, item in _first(value.items())}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, depth + 1) for item in _first(value)]
    return _text(str(value))


def _contained(value: Value) -> object:
    """Return `_clean(value)`; a plugin may have left anything there, and its text may raise what ends a worker."""
    try:
        return _clean(value)
    except BaseException as error:
        return f"({type(value).__name__} that cannot be written: {type(error).__name__})"


def _first(items: Iterable[T]) -> list[T]:
    return list(islice(items, _MAX_ITEMS))
