"""No setting, table or client can bring a pattern of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import upesi

_SOURCE = Path(upesi.__file__).parent
_COMPILING = {"compile", "match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}

# What these make of any text cannot explode: `re.escape` means the text itself, and `fnmatch.translate` turns each "*" into a group that
# is never gone back into (since Python 3.9)
_TAMED = {"escape", "translate"}


def _is_ours(node: ast.expr, constants: set[str]) -> bool:
    """Whether a pattern is written in the source: a text, put together of texts and constants of its module."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id in constants
    if isinstance(node, ast.BinOp):
        return _is_ours(node.left, constants) and _is_ours(node.right, constants)
    if isinstance(node, ast.JoinedStr):
        return all(_is_ours(part, constants) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _is_ours(node.value, constants)
    if isinstance(node, ast.BoolOp):
        return all(_is_ours(value, constants) for value in node.values)
    if isinstance(node, ast.GeneratorExp):
        return _is_ours(node.elt, constants)
    if isinstance(node, ast.Call) and _called(node) in _TAMED:
        return True
    if isinstance(node, ast.Call):
        # a constant, made fit to be part of a pattern
        return all(_is_ours(argument, constants) for argument in node.args)
    return False


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _constants(tree: ast.Module) -> set[str]:
    """The names that a module gives to what is written in it: its own constants, and what runs over a table of texts."""
    named = {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    tables = [
        node.target
        for node in ast.walk(tree)
        if isinstance(node, ast.comprehension)
        and all(isinstance(part, (ast.Tuple, ast.Constant, ast.Load)) for part in ast.walk(node.iter))
    ]
    return named | {part.id for target in tables for part in ast.walk(target) if isinstance(part, ast.Name)}


def test_every_pattern_is_written_in_the_source() -> None:
    """RES-07: where nobody can configure a regular expression there is none that a text can make explode."""
    foreign = []
    count = 0
    for path in _SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        constants = _constants(tree)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in _COMPILING
            ):
                count += 1
                if not _is_ours(node.args[0], constants):
                    foreign.append(f"{path.relative_to(_SOURCE)}:{node.lineno}")
    assert foreign == []
    assert count > 10
