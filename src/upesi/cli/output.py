"""What commands print: JSON when asked for, tables and colour on a terminal, plain columns for pipes and scripts.

Values come from mail, so a terminal must not be steered by them (LOG-01): they are reduced to printable characters here.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import msgspec

from upesi.mail.reply import printable

__all__ = ["Output", "age", "cell", "clock", "confirm", "many", "patience", "second", "size", "told"]

_COLOURS = {
    "held": "yellow",
    "returning": "yellow",
    "deferred": "yellow",
    "failed": "red",
    "delivered": "green",
    "active": "cyan",
    "retiring": "yellow",
}
# after this long a person wonders whether anything happens
_PATIENCE = 2.0


class Output:
    """Prints results in one form; commands do not know which."""

    __slots__ = ("_json", "_terminal")

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._terminal = not as_json and sys.stdout.isatty()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]], data: object) -> None:
        """Print `rows` under `columns`, or `data` as JSON."""
        if self._json:
            self.json(data)
        elif self._terminal:
            self._rich(columns, rows)
        else:
            self._plain(columns, rows)

    def fields(self, values: Mapping[str, object], data: object | None = None) -> None:
        """Print names and values, one a line, or `data` as JSON."""
        if self._json:
            self.json(data if data is not None else values)
            return
        width = max(map(len, values), default=0)
        for name, value in values.items():
            label = click.style(f"{name:<{width}}", dim=True) if self._terminal else f"{name:<{width}}"
            click.echo(f"{label}  {cell(value)}")

    def say(self, text: str, data: object) -> None:
        """Print a sentence, or `data` as JSON."""
        if self._json:
            self.json(data)
        else:
            click.echo(text)

    def json(self, data: object) -> None:
        """Print `data` as JSON."""
        click.echo(msgspec.json.format(msgspec.json.encode(data), indent=2 if sys.stdout.isatty() else 0).decode())

    def _plain(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        cells = [[name.upper() for name in columns], *([cell(value) for value in row] for row in rows)]
        widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
        for row in cells:
            click.echo("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())

    def _rich(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            table.add_column(name, overflow="fold")
        for row in rows:
            # Text and not a str: a reply that holds "[red]" is text, not markup
            table.add_row(*(Text(cell(value), style=_COLOURS.get(str(value), "")) for value in row))
        Console().print(table)


def cell(value: object) -> str:
    """Return `value` for a person: one line, printable."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        # only what is there: a table of zeros says nothing in a line
        said = [(key, cell(item)) for key, item in value.items() if item]
        return " ".join(f"{key}={text}" for key, text in said if text != "-") or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value)) or "-"
    return printable(str(value), 2048)


def age(seconds: float) -> str:
    """Return a span of time as people say it, to the nearest: 45s, 12m, 3h, 5d. Two of a unit before it is used, so that 90m stays 90m."""
    sign = "-" if seconds < 0 else ""
    seconds = abs(seconds)
    for unit, length, enough in (("s", 1, 120), ("m", 60, 120), ("h", 3600, 48)):
        # rounded first: what is a moment short of five days is five days
        if (count := int(seconds / length + 0.5)) < enough:
            return f"{sign}{count}{unit}"
    return f"{sign}{int(seconds / 86400 + 0.5)}d"


def clock(moment: float) -> str:
    """Return a Unix time as people write it, to the millisecond."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def second(moment: float) -> str:
    """Return a Unix time as people write it, to the nearest second."""
    return datetime.fromtimestamp(moment + 0.5, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def told(event: Mapping[str, object]) -> str:
    """Return the fields of an event for a person, behind its time and kind: times as people write them, nothing that is empty."""
    said = []
    for name, value in event.items():
        if name in ("at", "kind") or value in ("", None) or (name in _EMPTY_AT_ZERO and not value):
            continue
        write = _WRITTEN.get(name) if isinstance(value, (int, float)) else None
        text = write(value) if write is not None else str(value)  # type: ignore[arg-type]
        said.append(f'{name}="{text}"' if " " in text and write is None else f"{name}={text}")
    return " ".join(said)


def many(number: float, one: str, several: str = "") -> str:
    """Return a number of things: "1 delivery", "2 deliveries"; without `several` an s is put behind `one`."""
    return f"{number:.0f} {one if number == 1 else several or f'{one}s'}"


def size(octets: float) -> str:
    """Return a number of octets as people say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 10 else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"


def confirm(question: str) -> None:
    """Return if the person at the terminal says yes; end the command otherwise, and where nobody is there to be asked."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody is here to answer: add --yes")
    click.confirm(question, abort=True, err=True)


# fields of events that are a moment or a span, and how they are written
_WRITTEN: Mapping[str, Callable[[float], str]] = {
    "next": second,
    "seconds": lambda span: age(span) if span >= 10 else f"{span:.3g}s",
}
# where 0 is "there is none"
_EMPTY_AT_ZERO = frozenset({"code", "damaged_body"})


@contextmanager
def patience(what: str) -> Iterator[None]:
    """Say on the terminal, from the third second on, that `what` is still going on."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    thread = threading.Thread(target=_keep_saying, args=(what, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _keep_saying(what: str, done: threading.Event) -> None:
    waited = _PATIENCE
    if done.wait(_PATIENCE):
        return
    while not done.wait(1.0):
        waited += 1
        click.echo(f"\r{what}: {waited:.0f} s ", nl=False, err=True)
    click.echo("\r\x1b[K", nl=False, err=True)
