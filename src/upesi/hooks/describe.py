"""What `upesi plugins order` and `upesi plugins list` show, as values; printing them is the command line's work."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import msgspec

from upesi.config.settings import PluginsSettings
from upesi.hooks.discovery import PluginSource, find_plugins
from upesi.hooks.points import POINTS
from upesi.hooks.registry import Hooks

__all__ = ["OrderRow", "PluginRow", "order_rows", "plugin_rows"]


class OrderRow(msgspec.Struct, frozen=True):
    """One hook in its place. `deadline` is in seconds, None for a plain function, which runs inline and cannot be timed."""

    point: str
    position: int
    plugin: str
    function: str
    deadline: float | None
    on_error: str
    mandatory: bool
    file: str
    line: int


class PluginRow(msgspec.Struct, frozen=True):
    """One plugin that there is. `kind` is bundled, installed or file; `broken` says why its file is no Python, empty where it is."""

    name: str
    kind: str
    where: str
    enabled: bool
    summary: str
    broken: str = ""


def order_rows(hooks: Hooks) -> Iterator[OrderRow]:
    """Yield every hook, point by point in the order in which they fire, and in the order in which it runs there."""
    for point in POINTS:
        for position, hook in enumerate(getattr(hooks, point).hooks, 1):
            yield OrderRow(
                point,
                position,
                hook.guard.name,
                hook.name,
                hook.deadline if hook.asynchronous else None,
                "defer" if hook.on_error is not None else "continue",
                hook.mandatory,
                hook.file,
                hook.line,
            )


def plugin_rows(config: PluginsSettings) -> Iterator[PluginRow]:
    """Yield the plugins that there are, the enabled ones first and in their order. Runs no plugin's code."""
    known = find_plugins(Path(config.folder) if config.folder else None)
    names = [name for name in config.enabled if name in known]
    for name in (*names, *sorted(known.keys() - set(names))):
        for source in known[name]:
            summary, broken = _read(source)
            yield PluginRow(name, source.kind, source.where, name in names, summary, broken)


def _read(source: PluginSource) -> tuple[str, str]:
    """Return the first line of the plugin's docstring, nothing where it is in a package, and why its file cannot be read as Python."""
    if source.kind == "installed":
        return "", ""
    try:
        doc = ast.get_docstring(ast.parse(Path(source.where).read_bytes()))
    except SyntaxError as error:
        return "", f"{source.where}:{error.lineno or 1}: {error.msg}"
    except (OSError, ValueError) as error:
        return "", f"{source.where}: {error}"
    return (doc or "").partition("\n")[0], ""
