"""Writing a configuration back as TOML (the standard library only reads it)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

__all__ = ["as_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(tree: Mapping[str, object]) -> str:
    """Return `tree` (tables, lists, text, numbers) as TOML: single values first, then tables. What is None is left out."""
    return "\n".join(_table(tree, "")).strip("\n") + "\n"


def _table(table: Mapping[str, object], path: str) -> Iterator[str]:
    for name, value in table.items():
        if value is not None and not isinstance(value, dict) and not _is_tables(value):
            yield f"{_key(name)} = {_value(value)}"
    for name, value in table.items():
        inner = f"{path}.{_key(name)}" if path else _key(name)
        if isinstance(value, dict):
            yield f"\n[{inner}]"
            yield from _table(value, inner)
        elif isinstance(value, (list, tuple)) and _is_tables(value):
            for item in value:
                yield f"\n[[{inner}]]"
                yield from _table(item, inner)


def _is_tables(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, dict) for item in value)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(name)} = {_value(item)}' for name, item in value.items())} }}"
    if isinstance(value, (bool, int, float)):
        # no units here: Duration and Size were written out as text by the caller
        return str(value).lower() if isinstance(value, bool) else repr(value)
    # JSON's escapes of a string are TOML's, but for DEL, which TOML wants escaped
    return msgspec.json.encode(str(value)).decode().replace("\x7f", "\\u007f")
