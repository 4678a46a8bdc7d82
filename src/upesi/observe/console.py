"""Events for a reader at a terminal: time, name, fields; coloured by how the thing ended."""

from __future__ import annotations

from upesi.observe.events import Renderer

__all__ = ["console_renderer"]

_RESET = "\x1b[0m"
_DIM = "\x1b[2m"
_GREEN = "\x1b[32m"
_YELLOW = "\x1b[33m"
_RED = "\x1b[31m"
_CYAN = "\x1b[36m"
_COLOURS = {
    "accepted": _GREEN, "delivered": _GREEN, "ready": _GREEN,
    "deferred": _YELLOW, "dropped": _YELLOW, "held": _YELLOW, "suspended": _YELLOW,
    "rejected": _RED, "refused": _RED, "failed": _RED, "bounced": _RED, "crashed": _RED,
}  # fmt: skip
# what every line has in its own place, or is of no use to a reader at a terminal
_PLACED = frozenset(("time", "event", "traceback"))


def console_renderer(*, colour: bool) -> Renderer:
    """Return a renderer of one line for each event, and one for each line of a traceback."""
    return _coloured if colour else _plain


def _plain(record: dict[str, object]) -> bytes:
    fields = " ".join(f"{key}={_word(value)}" for key, value in record.items() if key not in _PLACED)
    return f"{_clock(record)} {record['event']:<24} {fields}{_trace(record)}".encode(errors="replace")


def _coloured(record: dict[str, object]) -> bytes:
    fields = " ".join(f"{_DIM}{key}={_RESET}{_word(value)}" for key, value in record.items() if key not in _PLACED)
    name = str(record["event"])
    colour = _COLOURS.get(name.rpartition(".")[2], _CYAN)
    line = f"{_DIM}{_clock(record)}{_RESET} {colour}{name:<24}{_RESET} {fields}{_trace(record)}"
    return line.encode(errors="replace")


def _clock(record: dict[str, object]) -> str:
    return str(record["time"])[11:23]


def _word(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if text and " " not in text and '"' not in text else repr(text)


def _trace(record: dict[str, object]) -> str:
    lines = record.get("traceback")
    return "".join(f"\n    {line}" for line in lines) if isinstance(lines, list) else ""
