"""Durations, sizes and rates as people write them: "5m", "1.5h", "25MB", "600/1m"; plain numbers are seconds and octets."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Self

__all__ = ["Duration", "Rate", "Size"]

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, None: 1.0}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kKMGT])(i)?)?B?\s*")
_POWER = {None: 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


class Duration(float):
    """Seconds. Reads "250ms", "30s", "5m", "4h", "5d", "1w" and plain numbers; raises ValueError."""

    __slots__ = ()

    def __new__(cls, value: str | float) -> Self:
        """Read `value`."""
        if isinstance(value, str):
            match = _DURATION.fullmatch(value)
            if match is None:
                raise ValueError(f"{value!r} is not a duration such as 30s, 5m, 4h or 5d")
            value = float(match[1]) * _SECONDS[match[2]]
        if not 0 <= value < float("inf"):
            raise ValueError("a duration cannot be negative or infinite")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        for unit in ("w", "d", "h", "m", "s"):
            count = self / _SECONDS[unit]
            if count >= 1 and count == int(count):
                return f"{int(count)}{unit}"
        # repr() keeps every digit; Decimal writes it without an exponent, which would not be read again
        return f"{Decimal(repr(float(self))):f}s"


class Size(int):
    """Octets. Reads "100kB", "25MB", "1GiB" and plain numbers; raises ValueError. k, M, G are powers of 1000, ki, Mi, Gi of 1024."""

    __slots__ = ()

    def __new__(cls, value: str | int) -> Self:
        """Read `value`."""
        if isinstance(value, str):
            match = _SIZE.fullmatch(value)
            if match is None:
                raise ValueError(f"{value!r} is not a size such as 100kB, 25MB or 1GiB")
            unit = (1024 if match[3] else 1000) ** _POWER[match[2]]
            # rounded: 1.001 * 1000 is 1000.9999999999999
            return super().__new__(cls, round(float(match[1]) * unit) if "." in match[1] else int(match[1]) * unit)
        if value < 0:
            raise ValueError("a size cannot be negative")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        for power, unit in ((4, "T"), (3, "G"), (2, "M"), (1, "k")):
            if self and self % 1000**power == 0:
                return f"{self // 1000**power}{unit}B"
        return str(int(self))


class Rate:
    """So many in any window of so long. Reads "600/1m" (600 in any minute) and "none"; raises ValueError.

    `count` is 0 for "none": then nothing is counted and nothing refused.
    """

    __slots__ = ("count", "seconds")

    def __init__(self, value: str) -> None:
        count, slash, window = value.partition("/")
        if value.strip() == "none":
            self.count, self.seconds = 0, Duration(1)
            return
        if not slash or not count.strip().isdecimal():
            raise ValueError(f"{value!r} is not a rate such as 600/1m, or none")
        self.count, self.seconds = int(count), Duration(window)
        # the longest window that is counted in memory is a week: a counter is no ledger
        if not 0 < self.count < 2**31 or not 1 <= self.seconds <= 604800:
            raise ValueError("a rate counts at least one in a window of a second to a week; none switches it off")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rate) and (self.count, self.seconds) == (other.count, other.seconds)

    def __hash__(self) -> int:
        return hash((self.count, self.seconds))

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}" if self.count else "none"

    def __repr__(self) -> str:
        return f"Rate({str(self)!r})"
