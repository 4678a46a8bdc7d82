"""What checks found, by name: evidence that others read, without knowing who wrote it."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["MAX_EVIDENCE", "MAX_RESULTS", "Result", "Results"]

# ("pass" | "fail" | "skip" | "error" | a method's own word, evidence)
Result: TypeAlias = tuple[str, str]

# results of one session, and of one transaction; more is a plugin that loops, and fails
MAX_RESULTS = 200
# characters of a result's evidence: what is beyond them is cut off
MAX_EVIDENCE = 2_000


class Results(dict[str, Result]):
    """A dictionary that takes results only: a plugin that leaves something else fails there, and not the one that reads it."""

    __slots__ = ()

    def __setitem__(self, name: str, result: Result) -> None:
        """Leave a result; raise TypeError for what is none, ValueError for too many."""
        parts: tuple[object, ...] = (name, *result) if isinstance(result, tuple) else ()
        if len(parts) != 3 or not all(isinstance(part, str) for part in parts):
            raise TypeError(f'the result {name!r} must be two texts: ("pass", "what was seen")')
        if len(self) >= MAX_RESULTS and name not in self:
            raise ValueError(f"there are {MAX_RESULTS} results already")
        word, evidence = result
        super().__setitem__(
            name, (word, evidence) if len(evidence) <= MAX_EVIDENCE else (word, evidence[:MAX_EVIDENCE])
        )

    def setdefault(self, name: str, result: Result) -> Result:
        """Leave a result unless there is one; return the one that is there."""
        if name not in self:
            self[name] = result
        return self[name]
