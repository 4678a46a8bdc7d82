"""Where a value of the configuration came from: a line of the file, or an override. Messages name it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from upesi.config.lines import file_lines, line_of
from upesi.config.overrides import key_path
from upesi.config.problems import SOMEWHERE, KeyPath, Problem, key_text

__all__ = ["Origin"]


class Origin:
    """`source` is the file as it was given, `lines` are those of its keys; `overrides` says of key paths which override set them."""

    __slots__ = ("lines", "overrides", "source")

    def __init__(self, source: str, lines: dict[KeyPath, int]) -> None:
        self.source = source
        self.lines = lines
        self.overrides: dict[KeyPath, str] = {}

    @classmethod
    def of(cls, path: Path | None, overrides: Sequence[str]) -> Origin:
        """Return that of a configuration that could be loaded; `path` is None for the zero configuration, which has no lines to go to."""
        origin = cls(str(path) if path else "zero configuration", file_lines(str(path)) if path else {})
        origin.overrides = {key_path(override.partition("=")[0]): f"--set {override}" for override in overrides}
        return origin

    def problem(self, path: KeyPath, text: str) -> Problem:
        """Return what is wrong with the value at `path`."""
        for key, override in self.overrides.items():
            if key and path[: len(key)] == key:
                return Problem(override, 0, key_text(path), text)
        return Problem(self.source, line_of(path, self.lines), key_text(path), text)

    def located(self, problem: Problem) -> Problem:
        """Return `problem` with its place, where whoever found it knew the key alone."""
        return self.problem(key_path(problem.key), problem.text) if problem.source == SOMEWHERE else problem

    def place(self, path: KeyPath) -> str:
        """Name a table and where it begins."""
        return str(self.problem(path, "")).rstrip(": ")
