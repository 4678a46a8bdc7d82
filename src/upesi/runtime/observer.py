"""One event, once: to the log, and counted where a metric stands for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from upesi.mail.outcome import OutcomeKind
from upesi.observe.events import Events, Value
from upesi.observe.metrics import Metrics

__all__ = ["Observer"]

Fields = Mapping[str, object]


class Observer:
    """The `emit` that runtime hands to every room. An "exception" among the fields is logged with its traceback."""

    __slots__ = ("_count", "_events")

    def __init__(self, events: Events, metrics: Metrics) -> None:
        self._events = events
        delivered, deferred, failed = (metrics.deliveries[kind] for kind in OutcomeKind)
        self._count: dict[str, Callable[[Fields], None]] = {
            "transaction.accepted": partial(_accepted, metrics),
            "transaction.refused": partial(_refused, metrics),
            "delivery.delivered": lambda fields: delivered.inc(_recipients(fields)),
            "delivery.deferred": lambda fields: deferred.inc(_recipients(fields)),
            "delivery.failed": lambda fields: failed.inc(_recipients(fields)),
            "plugin.failed": lambda fields: metrics.plugin_failures.child(
                str(fields.get("plugin", "")), str(fields.get("hook", ""))
            ).inc(),
        }

    def __call__(self, name: str, fields: Fields) -> None:
        """Report the event `name`."""
        count = self._count.get(name)
        if count is not None:
            count(fields)
        error = fields.get("exception")
        if isinstance(error, BaseException):
            rest = {key: value for key, value in fields.items() if key != "exception"}
            self._events.failure(name, error, cast("Mapping[str, Value]", rest))
        else:
            self._events.emit(name, cast("Mapping[str, Value]", fields))


def _recipients(fields: Fields) -> int:
    count = fields.get("recipients", 1)
    return count if isinstance(count, int) else 1


def _accepted(metrics: Metrics, fields: Fields) -> None:
    metrics.transactions_accepted.inc()
    metrics.received_bytes.inc(cast("int", fields.get("size", 0)))


def _refused(metrics: Metrics, fields: Fields) -> None:
    reply = str(fields.get("reply", ""))
    if reply.startswith("5"):
        metrics.transactions_rejected.inc()
    elif reply.startswith("4"):
        metrics.transactions_deferred.inc()
    else:
        metrics.transactions_aborted.inc()
