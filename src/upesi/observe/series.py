"""Counters, gauges and histograms of one worker, and the compact snapshot of them that goes to the supervisor.

They are plain numbers: no locks (one event loop), no global registry, no lookup when something is counted (children are bound at start).
prometheus-client was measured first: 0.5 us a count, 1.3 us an observation and 2.5 MB a process; this takes a tenth, and the
supervisor has to merge and write the text by itself in any case (`exposition.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec

__all__ = [
    "MAX_SERIES", "OTHER", "Counter", "Family", "FamilySnapshot", "Gauge", "Histogram", "Registry", "Sample",
    "decode_snapshot",
]  # fmt: skip

# LOG-03: no client may make series; past this many sets of labels, a family counts under OTHER
MAX_SERIES = 200
OTHER = "other"

Sample = tuple[tuple[str, ...], list[float]]


class FamilySnapshot(msgspec.Struct, frozen=True, array_like=True):
    """One family at one moment. `merge` says what happens over workers: "sum", "max", or "worker" (a label of its own).

    The numbers of a sample: one value; for a histogram the count of each bucket (not cumulated), then the sum.
    """

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    merge: str
    bounds: tuple[float, ...]
    samples: list[Sample]


_decode = msgspec.msgpack.Decoder(list[FamilySnapshot]).decode
_encode = msgspec.msgpack.Encoder().encode


def decode_snapshot(data: bytes) -> list[FamilySnapshot]:
    """Read what `Registry.export` wrote; raise msgspec.DecodeError."""
    return _decode(data)


class Counter:
    """A number that only rises."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def inc(self, amount: float = 1) -> None:
        """Count `amount`."""
        self.value += amount

    def set(self, total: float) -> None:
        """Take over a total that is counted elsewhere, and that only rises."""
        # a bool passes for a float with the type checker, and is none in the snapshot
        self.value = float(total)

    def numbers(self) -> list[float]:
        """Return the value for a snapshot."""
        return [self.value]


class Gauge:
    """A number that goes up and down; with a `function` it is asked for at each snapshot and costs nothing in between."""

    __slots__ = ("function", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.function: Callable[[], float] | None = None

    def inc(self, amount: float = 1) -> None:
        """Raise the value."""
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        """Lower the value."""
        self.value -= amount

    def set(self, value: float) -> None:
        """Set the value."""
        # see Counter.set
        self.value = float(value)

    def numbers(self) -> list[float]:
        """Return the value for a snapshot."""
        return [float(self.function()) if self.function is not None else self.value]


class Histogram:
    """How often a measurement fell up to each of the `bounds`, and beyond the last."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts: list[float] = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one measurement."""
        # bounds are inclusive ("le"): the first one that is not below the value
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def numbers(self) -> list[float]:
        """Return buckets and sum for a snapshot."""
        return [*self._counts, self._sum]


T = TypeVar("T", Counter, Gauge, Histogram)


class Family(Generic[T]):
    """All series of one name. `child` binds one of them; do that once, at start or when a session begins, not for every count."""

    __slots__ = ("_bounds", "_children", "_help", "_kind", "_labels", "_make", "_merge", "_name")

    def __init__(
        self,
        name: str,
        kind: str,
        help: str,
        labels: tuple[str, ...],
        make: Callable[[], T],
        merge: str,
        bounds: tuple[float, ...],
    ) -> None:
        self._name = name
        self._kind = kind
        self._help = help
        self._labels = labels
        self._make: Callable[[], T] = make
        self._merge = merge
        self._bounds = bounds
        self._children: dict[tuple[str, ...], T] = {}

    def child(self, *labels: str) -> T:
        """Return the series with these label values; beyond MAX_SERIES the one that is called "other"."""
        child = self._children.get(labels)
        if child is not None:
            return child
        if len(labels) != len(self._labels):
            raise ValueError(f"{self._name} has the labels {self._labels}, not {labels}")
        if len(self._children) >= MAX_SERIES:
            labels = (OTHER,) * len(labels)
        return self._children.setdefault(labels, self._make())

    def snapshot(self) -> FamilySnapshot:
        """Return all series as they are now."""
        samples = [(labels, child.numbers()) for labels, child in self._children.items()]
        return FamilySnapshot(self._name, self._kind, self._help, self._labels, self._merge, self._bounds, samples)


class Registry:
    """The families of one worker. Names are complete ("upesi_sessions_total"); raises ValueError for a name that is taken."""

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[str, Family[Counter] | Family[Gauge] | Family[Histogram]] = {}

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Family[Counter]:
        """Add a family of counters; `name` ends in "_total"."""
        family: Family[Counter] = Family(name, "counter", help, tuple(labels), Counter, "sum", ())
        self._add(name, family)
        return family

    def gauge(self, name: str, help: str, labels: Sequence[str] = (), *, merge: str = "sum") -> Family[Gauge]:
        """Add a family of gauges; `merge` is "sum", "max" (every worker sees the same thing) or "worker" (told apart)."""
        if merge not in ("sum", "max", "worker"):
            raise ValueError(f"{merge!r} is no way to merge gauges")
        family: Family[Gauge] = Family(name, "gauge", help, tuple(labels), Gauge, merge, ())
        self._add(name, family)
        return family

    def histogram(self, name: str, help: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> Family[Histogram]:
        """Add a family of histograms with rising upper `bounds`; the bucket beyond the last one is there by itself."""
        limits = tuple(bounds)
        if list(limits) != sorted(set(limits)):
            raise ValueError(f"the bounds of {name} must rise")
        family: Family[Histogram] = Family(
            name, "histogram", help, tuple(labels), lambda: Histogram(limits), "sum", limits
        )
        self._add(name, family)
        return family

    def export(self) -> bytes:
        """Return a compact snapshot of everything, for `exposition.Merge.update`."""
        return _encode([family.snapshot() for family in self._families.values()])

    def _add(self, name: str, family: Family[Counter] | Family[Gauge] | Family[Histogram]) -> None:
        if name in self._families:
            raise ValueError(f"there is a metric {name} already")
        self._families[name] = family
