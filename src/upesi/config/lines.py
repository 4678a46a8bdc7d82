"""Which line of a TOML file a key stands on, for error messages.

`tomllib` keeps no positions. This reads just enough of the layout (headers, keys at the start of a line, multi-line strings) to
point a reader at a line; a key written in an unusual way gets the line of its table. It decides nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from upesi.config.problems import KeyPath

__all__ = ["file_lines", "key_lines", "line_of"]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")
_LONG_STRING = re.compile(r"\"\"\"|'''")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line, counted from 1, of every table and key of `text`."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if not inside:
            if header := _HEADER.match(line):
                table = _resolve(_parts(header[2]), counts, appends=header[1] == "[[")
                lines.setdefault(table, number)
                if header[1] == "[[":
                    # the list of tables itself stands where its first table does
                    lines.setdefault(table[:-1], number)
            elif key := _KEY.match(line):
                lines.setdefault(table + _parts(key[1]), number)
        if len(_LONG_STRING.findall(line)) % 2:
            inside = not inside
    return lines


def file_lines(source: str) -> dict[KeyPath, int]:
    """Return the lines of the file `source`, none where that is no file that can be read: a message without a line is still true."""
    try:
        return key_lines(Path(source).read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def line_of(path: KeyPath, lines: dict[KeyPath, int]) -> int:
    """Return the line of `path` or of the nearest thing around it, 0 where nothing is known."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


def _parts(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _resolve(names: KeyPath, counts: dict[KeyPath, int], *, appends: bool) -> KeyPath:
    """Return the path that a header opens, with the index of each list of tables on the way; count a new element."""
    path: KeyPath = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if appends and position == len(names) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path
