"""What a duel hands back: rows for the table, and claims that were kept or not."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

__all__ = ["Claim", "Figure", "Result", "median_ratio"]


@dataclasses.dataclass(frozen=True)
class Claim:
    """One promise: what was measured, and the bound that it must reach (`least`) or stay below (`most`)."""

    text: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None
    # how the run fell short of what the promise speaks of ("100,000 of 1,000,000 messages"); empty: it did not
    reduced: str = ""

    @property
    def verdict(self) -> str:
        """One or a few words; a smaller run than promised never says "kept" without saying so."""
        word = "kept" if self.kept else "LOST"
        return f"{word}, but at {self.reduced}" if self.reduced else word

    @property
    def kept(self) -> bool:
        """Whether the measurement keeps the promise."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def bound(self) -> str:
        """The bound, in words."""
        return (
            f"at least {self.least:g} {self.unit}" if self.least is not None else f"at most {self.most:g} {self.unit}"
        )


@dataclasses.dataclass(frozen=True)
class Figure:
    """The runs of one contender: all values, in the order of the rounds."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 2
        spread = f"{min(self.values):,.{digits}f} - {max(self.values):,.{digits}f}"
        return f"{self.median:,.{digits}f} ({spread})" if len(self.values) > 1 else f"{self.median:,.{digits}f}"


@dataclasses.dataclass
class Result:
    """One duel's outcome. `command` is how it can be run by hand; `notes` are sentences under the table."""

    name: str
    title: str
    command: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = dataclasses.field(default_factory=list)
    claims: list[Claim] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios of runs made one after the other: what the machine did to both in that minute cancels out."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
