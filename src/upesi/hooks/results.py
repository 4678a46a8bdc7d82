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

_NO_RESULT = 'the result {!r} must be two texts: ("pass", "what was seen")'


class Results(dict[str, Result]):
    """A dictionary that takes results only: a plugin that leaves something else fails there, and not the one that reads it."""

    __slots__ = ()

    def __setitem__(self, name: str, result: Result) -> None:
        """Leave a result; raise TypeError for what is none, ValueError for too many."""
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(_NO_RESULT.format(name))
        word, evidence = result
        if not (isinstance(name, str) and isinstance(word, str) and isinstance(evidence, str)):
            raise TypeError(_NO_RESULT.format(name))
        if len(self) >= MAX_RESULTS and name not in self:
            raise ValueError(f"there are {MAX_RESULTS} results already")
        if len(evidence) > MAX_EVIDENCE:
            evidence = evidence[:MAX_EVIDENCE]
        super().__setitem__(name, (word, evidence))

    def setdefault(self, name: str, result: Result) -> Result:
        """Leave a result unless there is one; return the one that is there."""
        if name not in self:
            self[name] = result
        return self[name]
