"""One text for the machine, merged from the workers' snapshots (Prometheus text format 0.0.4). Runs in the supervisor.

A counter may never go back: what a worker had counted when it ended stays in the sum, else every reload would look like a reset of
some series and not of others.
"""

from __future__ import annotations

from math import isfinite

from upesi.observe.series import FamilySnapshot, Sample, decode_snapshot

__all__ = ["CONTENT_TYPE", "Merge"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_Series = dict[tuple[str, ...], list[float]]


class Merge:
    """The last snapshot of each worker, and the totals of those that have ended."""

    __slots__ = ("_retired", "_workers")

    def __init__(self) -> None:
        self._workers: dict[str, list[FamilySnapshot]] = {}
        self._retired: dict[str, FamilySnapshot] = {}

    def update(self, worker: str, snapshot: bytes) -> None:
        """Take what `Metrics.export` of `worker` gave; raise msgspec.DecodeError."""
        self._workers[worker] = decode_snapshot(snapshot)

    def retire(self, worker: str) -> None:
        """Keep the totals of a worker that has ended; its gauges go with it. Names of workers are not used twice."""
        for family in self._workers.pop(worker, []):
            if family.kind == "gauge":
                continue
            before = self._retired.get(family.name)
            if before is not None and before.bounds == family.bounds:
                series: _Series = {}
                _gather(series, before.samples, "sum")
                _gather(series, family.samples, "sum")
                family = _with_samples(family, series)
            self._retired[family.name] = family

    def text(self) -> bytes:
        """Return the whole exposition."""
        merged: dict[str, tuple[FamilySnapshot, _Series]] = {}
        for family in self._retired.values():
            _add(merged, family, "")
        for worker, families in self._workers.items():
            for family in families:
                _add(merged, family, worker)
        lines: list[str] = []
        for name in sorted(merged):
            family, series = merged[name]
            lines += _family_lines(family, series)
        return ("\n".join(lines) + "\n").encode() if lines else b""


def _with_samples(family: FamilySnapshot, series: _Series) -> FamilySnapshot:
    return FamilySnapshot(
        family.name, family.kind, family.help, family.labels, family.merge, family.bounds, list(series.items())
    )


def _add(merged: dict[str, tuple[FamilySnapshot, _Series]], family: FamilySnapshot, worker: str) -> None:
    first, series = merged.setdefault(family.name, (family, {}))
    if (first.labels, first.bounds) != (family.labels, family.bounds):
        return  # workers of two versions during a reload: the shape that was seen first is shown
    samples = family.samples
    if family.merge == "worker":
        samples = [((*labels, worker), numbers) for labels, numbers in samples]
    _gather(series, samples, family.merge)


def _gather(series: _Series, samples: list[Sample], merge: str) -> None:
    join = max if merge == "max" else _sum
    for labels, numbers in samples:
        have = series.get(labels)
        series[labels] = list(numbers) if have is None else [join(a, b) for a, b in zip(have, numbers, strict=True)]


def _sum(one: float, other: float) -> float:
    return one + other


def _family_lines(family: FamilySnapshot, series: _Series) -> list[str]:
    names = (*family.labels, "worker") if family.merge == "worker" else family.labels
    lines = [f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}"]
    for labels in sorted(series):
        pairs = [f'{name}="{_escape_label(value)}"' for name, value in zip(names, labels, strict=True)]
        if family.kind == "histogram":
            lines += _histogram_lines(family, pairs, series[labels])
        else:
            lines.append(f"{family.name}{_braces(pairs)} {_number(series[labels][0])}")
    return lines


def _histogram_lines(family: FamilySnapshot, pairs: list[str], numbers: list[float]) -> list[str]:
    *counts, total = numbers
    lines: list[str] = []
    below = 0.0
    for bound, count in zip((*map(_number, family.bounds), "+Inf"), counts, strict=True):
        below += count
        bucket = [*pairs, f'le="{bound}"']
        lines.append(f"{family.name}_bucket{_braces(bucket)} {_number(below)}")
    lines.append(f"{family.name}_sum{_braces(pairs)} {_number(total)}")
    lines.append(f"{family.name}_count{_braces(pairs)} {_number(below)}")
    return lines


def _braces(pairs: list[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    if not isfinite(value):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_label(text: str) -> str:
    return _escape(text).replace('"', r"\"")
