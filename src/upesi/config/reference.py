"""The generated reference: `docs/reference/configuration.md` from the modules with the sections, so that the two cannot differ.

A struct's docstring is its section's text, the comment lines above a field are the field's. They are read from the source because
comments leave nothing behind in the classes.
"""

from __future__ import annotations

import ast
import enum
import inspect
import tokenize
import typing
from collections.abc import Iterator
from io import StringIO

import msgspec

from upesi.config import account_settings, route_settings, settings, timeouts
from upesi.config.units import Duration, Rate, Size

__all__ = ["reference"]

_TYPES: dict[object, str] = {
    str: "text", int: "whole number", float: "number", bool: "`true` or `false`", Duration: "duration", Size: "size",
    Rate: "rate",
}  # fmt: skip
_HEAD = """\
# Configuration

One TOML file, read by `upesi serve -c FILE`. `upesi init DIR` writes one with the most important keys; `upesi config check -c FILE` says
everything that is wrong with one, `upesi config show -c FILE` shows every value in use. Without a file the server runs with the zero
configuration: what `upesi init` writes, but without TLS (`tls = "none"`: there is no certificate), and with its folders below the working
directory.

* A *duration* is written `250ms`, `30s`, `5m`, `4h`, `5d` or `1w`; a plain number is seconds.
* A *size* is written `100kB`, `25MB` or `1GiB` (k, M, G are powers of 1000, ki, Mi, Gi of 1024); a plain number is octets.
* A *rate* is written `600/1m`: so many in any window of so long, exactly and over all workers; `none` switches it off.
* Relative paths are relative to the folder of the file.
* `--set KEY=VALUE` on the command line is put on top of the file: `--set spool.path=/srv/spool`, `--set listener.0.port=25`.
  Values are TOML; what is not TOML is taken as text. Lists count from 0; a table is added as the next: `--set "listener.1={port=26}"`.
* An unknown key or section, or a value of the wrong type, stops the start (and changes nothing at a reload).

This page is generated from `settings.py`, `timeouts.py` and the `*_settings.py` beside them in `src/upesi/config` by `make docs`.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    comments: dict[tuple[str, str], str] = {}
    for module in (settings, route_settings, account_settings, timeouts):
        comments |= _comments(inspect.getsource(module))
    lines = [_HEAD]
    for field in msgspec.structs.fields(settings.Config):
        lines += _section(field.name, field.type, comments)
    return "\n".join(lines)


def _section(name: str, kind: object, comments: dict[tuple[str, str], str]) -> Iterator[str]:
    element = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    assert isinstance(element, type)
    assert issubclass(element, msgspec.Struct)
    yield f"## `[[{name}]]`" if element is not kind else f"## `[{name}]`"
    yield ""
    yield inspect.cleandoc(element.__doc__ or "")
    if element is not kind:
        yield ""
        yield "May be repeated."
    yield ""
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    nested: list[tuple[str, type[msgspec.Struct]]] = []
    for field in msgspec.structs.fields(element):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            nested.append((f"{name}.{field.name}", field.type))
        elif not (element is settings.PluginsSettings and field.name == "settings"):
            meaning = comments.get((element.__name__, field.name), "")
            yield f"| `{field.name}` | {_type(field.type)} | {_default(field)} | {_cell(meaning)} |"
    yield ""
    for path, struct in nested:
        yield from _section(path, struct, comments)


def _type(kind: object) -> str:
    if typing.get_origin(kind) is tuple:
        return f"list of {_type(typing.get_args(kind)[0])}s".replace("texts", "text")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(f'`"{member.value}"`' for member in kind)
    return _TYPES[kind]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{_toml(value)}`"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (str, Duration, Size, Rate)):
        return f'"{value}"'
    return str(value)


def _cell(text: str) -> str:
    text = text.replace("|", r"\|")
    return text[:1].upper() + text[1:] if text[:2].islower() else text


def _comments(source: str) -> dict[tuple[str, str], str]:
    """Return the comment lines right above each field, by class and field; one comment may stand above several fields in a row."""
    by_line = {
        token.start[0]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[tuple[str, str], str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    found[node.name, field.target.id] = " ".join(_above(field.lineno, by_line))
    return found


def _above(line: int, comments: dict[int, str]) -> list[str]:
    above: list[str] = []
    while line - 1 in comments:
        line -= 1
        above.insert(0, comments[line])
    return above
