"""Which events the source can write, read from its syntax, and which the documents name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from doc_pages import coded, modules, rows, section

# everything through which an event goes on its way to the log or the history
_EMITTERS = {"emit", "_emit", "failure", "_notice", "end_transaction", "SpoolEvent", "Update"}
_NAME = re.compile(r"[a-z]+(?:\.[a-z_]+)+")


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _names(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str) and _NAME.fullmatch(part.value):
                yield part.value


def _direct(call: ast.Call) -> list[ast.expr]:
    """The arguments that can be a name: not what is inside dictionaries."""
    return [argument for argument in call.args if isinstance(argument, (ast.Constant, ast.IfExp))]


def emitted() -> dict[str, set[str]]:
    """Return every event that the source writes, with the fields that stand beside it in the call."""
    found: dict[str, set[str]] = {}
    for _, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _called(node) in _EMITTERS:
                for name in _names(_direct(node)):
                    found.setdefault(name, set()).update(_fields(node))
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    # a record put together by hand, and the names of outcomes
                    if (isinstance(key, ast.Constant) and key.value == "event") or "OutcomeKind" in ast.dump(
                        key or node
                    ):
                        for name in _names([value]):
                            found.setdefault(name, set())
    return found


def _fields(call: ast.Call) -> set[str]:
    return {
        key.value
        for argument in call.args
        if isinstance(argument, ast.Dict)
        for key in argument.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    } - {"exception"}


def documented_rows() -> dict[str, str]:
    """Return the cell of fields for every event in docs/operating.md."""
    table = rows(section("docs/operating.md", "events"))
    return {name: cells[2] for cells in table for name in coded(cells[0])}


def documented_events() -> set[str]:
    """Return the names of the events in docs/operating.md."""
    return set(documented_rows())
