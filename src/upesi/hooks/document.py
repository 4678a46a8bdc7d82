"""What `upesi plugins doc NAME` shows: what a plugin is for, its settings with their meanings, its hooks and what it needs.

It imports the plugin, as a start would, and makes none of it: settings that must be given need not be there.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgspec

from upesi.config.settings import PluginsSettings
from upesi.config.units import Duration, Size
from upesi.hooks.declaration import Declaration, PluginSettings, may_wait
from upesi.hooks.loading import plugin_outline

__all__ = ["HookDoc", "PluginDoc", "SettingDoc", "plugin_doc"]

_FIELD = re.compile(r"^(\w+)\s*:\s*([^=#]+?)\s*(?:=[^#]*)?(?:#\s*(.*))?$")


class SettingDoc(msgspec.Struct, frozen=True):
    """One key of `[plugins.NAME]`. `default` is empty for one that must be given; `common` are those that every plugin has."""

    key: str
    type: str
    default: str
    required: bool
    meaning: str
    common: bool


class HookDoc(msgspec.Struct, frozen=True):
    """One hook: where, which function, its first line, and what it says of its place."""

    point: str
    function: str
    summary: str
    asynchronous: bool
    after: tuple[str, ...]
    before: tuple[str, ...]
    requires: tuple[str, ...]


class PluginDoc(msgspec.Struct, frozen=True):
    """All of it. `readme` is the text of the README beside a bundled plugin, or of NAME.md beside a file; else the docstring."""

    name: str
    kind: str
    where: str
    readme: str
    services: tuple[str, ...]
    settings: tuple[SettingDoc, ...]
    hooks: tuple[HookDoc, ...]


def plugin_doc(config: PluginsSettings, name: str) -> PluginDoc:
    """Return what there is to say of the plugin `name`, enabled or not; raise ConfigError."""
    outline = plugin_outline(config, name)
    return PluginDoc(
        name,
        outline.source.kind,
        outline.source.where,
        _readme(outline.source.where, name) or inspect.getdoc(outline.module) or inspect.getdoc(outline.kind) or "",
        outline.services,
        tuple(_settings(outline.kind.Settings)),
        tuple(_hook(declaration, function) for declaration, function in outline.hooks),
    )


def _readme(where: str, name: str) -> str:
    path = Path(where)
    for place in (path.parent / "README.md" if path.name == "plugin.py" else None, path.with_name(f"{name}.md")):
        if place is not None and place.is_file():
            return place.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def _settings(kind: type[PluginSettings]) -> Iterator[SettingDoc]:
    """Yield the keys of `kind`, its own before those of every plugin."""
    common = set(PluginSettings.__struct_fields__)
    meanings = _meanings(PluginSettings) | _meanings(kind)
    fields = sorted(msgspec.structs.fields(kind), key=lambda field: field.name in common)
    for field in fields:
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        # an own default of a common key (`on_error`) is the plugin's
        shown = "" if field.required else _shown(default)
        yield SettingDoc(
            field.encode_name,
            _type(field.type),
            shown,
            field.required,
            meanings.get(field.name, ""),
            field.name in common,
        )


def _meanings(kind: type[PluginSettings]) -> dict[str, str]:
    """Return the comments of the fields, those in front of a field's line and behind it, as its author wrote them."""
    try:
        lines = inspect.getsource(kind).splitlines()[1:]
    except (OSError, TypeError):
        return {}
    found: dict[str, str] = {}
    waiting: list[str] = []
    for line in map(str.strip, lines):
        field = _FIELD.match(line)
        if line.startswith("#"):
            waiting.append(line.lstrip("# "))
        elif field is not None:
            found[field[1]] = " ".join([*waiting, *([field[3]] if field[3] else [])])
            waiting = []
        elif not line:
            waiting = []
    return {name: text for name, text in found.items() if text}


def _type(kind: object) -> str:
    text = kind.__name__ if isinstance(kind, type) and not getattr(kind, "__args__", None) else str(kind)
    return re.sub(r"\b(?:[a-z_]\w*\.)+", "", text)


def _shown(value: object) -> str:
    if isinstance(value, (Duration, Size)):
        return f'"{value}"'
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _hook(declaration: Declaration, function: object) -> HookDoc:
    return HookDoc(
        declaration.point,
        getattr(function, "__name__", "hook"),
        textwrap.shorten((inspect.getdoc(function) or "").partition("\n")[0], 200),
        may_wait(function),
        declaration.after,
        declaration.before,
        declaration.requires,
    )
