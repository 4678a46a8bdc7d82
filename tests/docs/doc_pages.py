"""What the tests of the documents share: the pages, their code blocks, inline code, tables and marked sections."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "upesi"
# the pages whose statements are held to the code here; docs/plugins.md and docs/reference have tests of their own
NAMES = (
    "README.md",
    "docs/index.md",
    "docs/guide.md",
    "docs/accounts.md",
    "docs/authentication.md",
    "docs/operating.md",
    "docs/from-haraka.md",
    "docs/limits.md",
    "docs/adr/README.md",
)

_BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


class Block(NamedTuple):
    """One fenced block of a page."""

    page: str
    language: str
    title: str
    text: str


def text_of(page: str) -> str:
    """Return the page."""
    return (ROOT / page).read_text()


def blocks(*languages: str, pages: tuple[str, ...] = NAMES) -> list[Block]:
    """Return the fenced blocks in any of the languages."""
    found = [Block(page, *groups) for page in pages for groups in _BLOCK.findall(text_of(page))]
    return [block for block in found if block.language in languages]


def inline(page: str) -> list[str]:
    """Return what stands in single backticks outside of blocks."""
    return _INLINE.findall(_BLOCK.sub("", text_of(page)))


def section(page: str, name: str) -> str:
    """Return what stands between `<!-- name -->` and `<!-- /name -->`."""
    match = re.search(rf"<!-- {name}\b[^>]*-->\n(.*?)<!-- /{name} -->", text_of(page), re.DOTALL)
    assert match is not None, f"{page} has no section {name}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the tables in `text`, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    ruled = [index for index, line in enumerate(lines) if set(line) <= set("|- ")]
    heads = {index - 1 for index in ruled} | set(ruled)
    return [[cell.strip() for cell in line.strip("|").split("|")] for i, line in enumerate(lines) if i not in heads]


def coded(cell: str) -> list[str]:
    """Return what stands in backticks in a cell."""
    return _INLINE.findall(cell)


def modules(*, without: tuple[str, ...] = ("testkit",)) -> Iterator[tuple[str, ast.Module]]:
    """Yield the name below `upesi` and the syntax tree of every module, but for some rooms."""
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if parts[0] not in without:
            yield ".".join(parts), ast.parse(path.read_text())
