"""Reads one plugin's table of the configuration into its `Settings`, and says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from upesi.config.lines import file_lines, line_of
from upesi.config.loading import complaint, not_a
from upesi.config.problems import KeyPath, Problem, key_text, nearest
from upesi.config.units import Duration, Rate, Size
from upesi.hooks.declaration import FilePath, PluginSettings

__all__ = ["Origin", "read_settings"]


class Origin:
    """The configuration's file as messages name it, and the lines of its keys: read when something is wrong, and not before."""

    __slots__ = ("_lines", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines: dict[KeyPath, int] | None = None

    def problem(self, path: KeyPath, text: str) -> Problem:
        """Return the mistake `text` at the key `path`."""
        if self._lines is None:
            self._lines = file_lines(self.source)
        return Problem(self.source, line_of(path, self._lines), key_text(path), text)


S = TypeVar("S", bound=PluginSettings)


def read_settings(
    kind: type[S], table: Mapping[str, object], *, name: str, origin: Origin, folder: Path
) -> tuple[S | None, list[Problem]]:
    """Return `[plugins.NAME]` as `kind`, or None and what is wrong; relative paths are relative to `folder`."""
    problems: list[Problem] = []
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, object] = {}

    def report(key: str, text: str) -> None:
        problems.append(origin.problem(("plugins", name, key) if key else ("plugins", name), text))

    for key, value in table.items():
        if key not in fields:
            report(key, f"unknown key{nearest(key, fields)}")
            continue
        try:
            values[fields[key].name] = msgspec.convert(value, fields[key].type, dec_hook=_units(folder))
        except msgspec.ValidationError as error:
            report(key, complaint(fields[key].type, value, str(error)))
    for key, field in fields.items():
        if field.required and key not in table:
            report(key, "is missing")
    if problems:
        return None, problems
    try:
        # each value was converted to its field's type above
        settings = kind(**values)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:  # from the plugin's own __post_init__
        report("", str(error))
        return None, problems
    if settings.deadline is not None and settings.deadline <= 0:
        report("deadline", "must be more than 0: a hook without a deadline could hold a session for ever")
    return settings, problems


def _units(folder: Path) -> Callable[[type, object], object]:
    def convert(kind: type, value: object) -> object:
        if kind is object:
            return value
        if kind is Duration and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return Duration(value)
        if kind is Size and isinstance(value, (str, int)) and not isinstance(value, bool):
            return Size(value)
        if kind is Rate and isinstance(value, str):
            return Rate(value)
        if kind is FilePath and isinstance(value, str):
            return FilePath(folder / value) if value else FilePath()
        raise ValueError("must be the path of a file in quotes" if kind is FilePath else not_a(kind, value))

    return convert
