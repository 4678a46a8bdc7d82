"""Metrics: what workers count is merged into one exposition, bounded, and never goes back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from upesi.mail.outcome import OutcomeKind
from upesi.observe.exposition import Merge
from upesi.observe.lag import LoopLag
from upesi.observe.metrics import Metrics
from upesi.observe.series import MAX_SERIES, OTHER, Histogram, Registry


def parsed(merge: Merge) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the exposition with somebody else's parser."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(merge.text().decode())
        for sample in family.samples
    }


def value(merge: Merge, name: str, /, **labels: str) -> float | None:
    return parsed(merge).get((name, frozenset(labels.items())))


def test_workers_counters_and_gauges_are_summed() -> None:
    """One endpoint for the machine."""
    merge = Merge()
    for worker, count in (("1", 3), ("2", 4)):
        metrics = Metrics()
        metrics.transactions_accepted.inc(count)
        metrics.sessions_open.child("mx").inc(count)
        metrics.deliveries[OutcomeKind.DEFERRED].inc()
        metrics.loop_lag.observe(0.3)
        merge.update(worker, metrics.export())
    assert value(merge, "upesi_transactions_total", outcome="accepted") == 7
    assert value(merge, "upesi_sessions_open", listener="mx") == 7
    assert value(merge, "upesi_deliveries_total", outcome="deferred") == 2
    assert value(merge, "upesi_loop_lag_seconds_bucket", le="0.25") == 0
    assert value(merge, "upesi_loop_lag_seconds_bucket", le="1") == 2
    assert value(merge, "upesi_loop_lag_seconds_bucket", le="+Inf") == 2
    assert value(merge, "upesi_loop_lag_seconds_count") == 2
    assert value(merge, "upesi_loop_lag_seconds_sum") == pytest.approx(0.6)


def test_what_every_worker_sees_alike_is_not_summed() -> None:
    """The spool's totals are the same seen from each worker; other gauges can be told apart by worker."""
    merge = Merge()
    for worker, seen in (("1", 10), ("2", 12)):
        registry = Registry()
        registry.gauge("spool", "h", ["state"], merge="max").child("ready").set(seen)
        registry.gauge("mine", "h", merge="worker").child().set(seen)
        merge.update(worker, registry.export())
    assert value(merge, "spool", state="ready") == 12
    assert (value(merge, "mine", worker="1"), value(merge, "mine", worker="2")) == (10, 12)


def test_a_workers_end_takes_nothing_back() -> None:
    """Counters and histograms of ended workers stay in the sums, through any number of reloads; gauges go."""
    merge = Merge()
    for worker in range(5):
        metrics = Metrics()
        metrics.messages_queued.inc(10)
        metrics.loop_lag.observe(0.02)
        metrics.sessions_open.child("mx").set(100)
        merge.update(str(worker), metrics.export())
        merge.update(str(worker), metrics.export())
        merge.retire(str(worker))
    merge.retire("unknown")
    assert value(merge, "upesi_messages_queued_total") == 50
    assert value(merge, "upesi_loop_lag_seconds_count") == 5
    assert value(merge, "upesi_sessions_open", listener="mx") is None


def test_labels_cannot_grow_without_bound() -> None:
    """LOG-03: a million names become MAX_SERIES series and "other"."""
    registry = Registry()
    family = registry.counter("names_total", "h", ["name"])
    for number in range(10_000):
        family.child(f"n{number}").inc()
    merge = Merge()
    merge.update("1", registry.export())
    assert len(parsed(merge)) == MAX_SERIES + 1
    assert value(merge, "names_total", name=OTHER) == 10_000 - MAX_SERIES


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5, unique=True))
def test_any_label_value_is_escaped(names: list[str]) -> None:
    """Quotes, backslashes and line ends in a label cannot forge a sample."""
    registry = Registry()
    for name in names:
        registry.counter(f"c{names.index(name)}_total", 'a "help"\nwith \\ ends', ["name"]).child(name).inc()
    merge = Merge()
    merge.update("1", registry.export())
    lines = merge.text().decode().split("\n")
    assert len([line for line in lines if line and not line.startswith("#")]) == len(names)
    if all(name.isprintable() for name in names):  # the parser at hand takes other separators for line ends
        assert {dict(labels)["name"] for _, labels in parsed(merge)} == set(names)


@given(st.lists(st.floats(0, 100, allow_nan=False)))
def test_a_histogram_counts_each_measurement_up_to_its_bound(values: list[float]) -> None:
    """Bounds are inclusive, and nothing falls between buckets."""
    bounds = (0.5, 1.0, 10.0)
    histogram = Histogram(bounds)
    for each in values:
        histogram.observe(each)
    *counts, total = histogram.numbers()
    below = [sum(counts[: index + 1]) for index in range(len(counts))]
    assert below == [*(sum(each <= bound for each in values) for bound in bounds), len(values)]
    assert total == pytest.approx(sum(values))


def test_a_gauge_may_ask_when_it_is_read() -> None:
    """A gauge with a function costs nothing between snapshots."""
    metrics = Metrics()
    waiting = [1, 2, 3]
    metrics.memory_deliveries.function = lambda: len(waiting)
    merge = Merge()
    merge.update("1", metrics.export())
    assert value(merge, "upesi_memory_deliveries") == 3


def test_whatever_number_is_set_can_be_read_by_the_supervisor() -> None:
    """A bool is an int to Python and no number on the wire: it must not cost the machine its metrics page."""
    metrics = Metrics()
    metrics.overloaded.set(True)
    metrics.overloads.set(True)
    metrics.memory_deliveries.function = lambda: False
    merge = Merge()
    merge.update("1", metrics.export())
    assert value(merge, "upesi_overloaded_workers") == 1
    assert value(merge, "upesi_overloads_total") == 1
    assert value(merge, "upesi_memory_deliveries") == 0


def test_a_number_without_end_does_not_break_the_page() -> None:
    """Infinity and what is not a number are written as the text format writes them."""
    metrics = Metrics()
    metrics.overloaded.set(float("inf"))
    metrics.delayed.set(float("nan"))
    merge = Merge()
    merge.update("1", metrics.export())
    assert value(merge, "upesi_overloaded_workers") == float("inf")
    assert math.isnan(value(merge, "upesi_delayed_replies") or 0)


def test_mistakes_in_declaring_metrics_are_said_at_once() -> None:
    """A name twice, labels of the wrong number, bounds that do not rise."""
    registry = Registry()
    family = registry.counter("a_total", "h", ["x"])
    with pytest.raises(ValueError, match="already"):
        registry.counter("a_total", "h")
    with pytest.raises(ValueError, match="labels"):
        family.child()
    with pytest.raises(ValueError, match="rise"):
        registry.histogram("h", "h", [1, 1])
    with pytest.raises(ValueError, match="merge"):
        registry.gauge("g", "h", merge="mean")


def test_the_loops_lateness_is_measured_by_its_own_clock() -> None:
    """A timer that fires a second late is one observation of a second."""

    class Late:
        now = 100.0
        due: tuple[float, object, tuple[float, ...]]

        def time(self) -> float:
            return self.now

        def call_at(self, when: float, callback: object, *arguments: float) -> "Late":
            self.due = (when, callback, arguments)
            return self

        def cancel(self) -> None:
            self.due = (0, None, ())

    loop, histogram = Late(), Histogram((0.5,))
    lag = LoopLag(loop, histogram)  # type: ignore[arg-type]
    lag.start()
    when, fire, arguments = loop.due
    loop.now = when + 1
    fire(*arguments)  # type: ignore[operator]
    assert lag.last == pytest.approx(1)
    assert histogram.numbers()[:2] == [0, 1]
    assert loop.due[0] == pytest.approx(loop.now + 0.25)
    lag.stop()


def test_an_empty_merge_is_an_empty_page() -> None:
    """Before the first snapshot there is nothing, and that is no error."""
    assert Merge().text() == b""
