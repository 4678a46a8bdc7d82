"""`--set KEY=VALUE`: single values on top of the file, for a test, a container or a second instance.

What is set is there, or the next of a list as a whole (`listener.1={ port = 25 }`), or the first of a list that is not there.

Values are TOML; what is not TOML is taken as text, so that `--set spool.path=/tmp/x` and `--set delivery.expire=5d` need no quotes.
"""

from __future__ import annotations

import re
import tomllib

from upesi.config.problems import KeyPath, Problem, key_text

__all__ = ["apply_override", "key_path", "parse_override"]

_INDEX = re.compile(r"\[(\d+)\]")


def parse_override(text: str) -> tuple[KeyPath, object]:
    """Split `listener.0.port=25` into its key path and its value; raise ValueError for what has no key or no "="."""
    key, equals, value = text.partition("=")
    path = key_path(key)
    if not equals or not all(part != "" for part in path):
        raise ValueError("an override is written KEY=VALUE, such as spool.path=/tmp/x or listener.0.port=25")
    return path, _value(value)


def key_path(text: str) -> KeyPath:
    """Return what `listener.0.port` and `listener[0].port` name."""
    parts = _INDEX.sub(r".\1", text.strip()).split(".")
    return tuple(int(part) if part.isdigit() else part for part in parts)


def apply_override(tree: dict[str, object], text: str, source: str) -> tuple[KeyPath, Problem | None]:
    """Put the override `text` into `tree`; return its key path, and what was wrong with it."""
    try:
        path, value = parse_override(text)
    except ValueError as error:
        return (), Problem(source, 0, "", str(error))
    node: object = tree
    for position, part in enumerate(path):
        last = position == len(path) - 1
        if isinstance(node, list) and isinstance(part, int) and part >= len(node) + (last or not node):
            return path, Problem(source, 0, key_text(path), _beyond(path[:position], len(node)))
        if last:
            break
        node = _step(node, part, [] if isinstance(path[position + 1], int) else {})
    if not _assign(node, path[-1], value):
        return path, Problem(source, 0, key_text(path), "there is nothing of this name and place to set")
    return path, None


def _beyond(path: KeyPath, count: int) -> str:
    """Say that a list has no entry of this number: who counts from 1 means another, which one key on top would not add as it was meant."""
    name, written = key_text(path), ".".join(map(str, path))
    if not count:
        return f"there is no {name}: the first is {name}[0]"
    there = f"{name}[0]" if count == 1 else f"{name}[0] to {name}[{count - 1}]"
    whole = f"a whole one is added as --set '{written}.{count}={{ ... }}'"
    return f"the configuration has {there}, did you mean {name}[{count - 1}]? ({whole})"


def _value(text: str) -> object:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    # a line end in the text could have brought more keys in: then it is text
    return parsed["value"] if len(parsed) == 1 else text


def _step(node: object, part: str | int, empty: object) -> object:
    """Return what stands at `part` of `node`, made from `empty` where there is nothing yet; None where that cannot be."""
    if isinstance(node, dict) and isinstance(part, str):
        return node.setdefault(part, empty)
    if isinstance(node, list) and isinstance(part, int):
        if not node:
            node.append(empty)
        return node[part] if part < len(node) else None
    return None


def _assign(node: object, part: str | int, value: object) -> bool:
    if isinstance(node, dict) and isinstance(part, str):
        node[part] = value
        return True
    if isinstance(node, list) and isinstance(part, int) and part <= len(node):
        node[part : part + 1] = [value]
        return True
    return False
