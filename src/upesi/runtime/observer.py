"""One event, once: to the log, and counted where a metric stands for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

from upesi.dns.resolver import Resolver
from upesi.listener.listener import Listener
from upesi.mail.outcome import OutcomeKind
from upesi.observe.events import Events, Value
from upesi.observe.metrics import Metrics
from upesi.spool.listing import QueueTotals

__all__ = ["Observer", "count_dns", "count_queue", "count_sessions"]

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
            "session.ended": partial(_ended, metrics),
            "auth.succeeded": lambda fields: metrics.authentications.child("succeeded").inc(),
            "auth.failed": lambda fields: metrics.authentications.child(str(fields.get("reason", ""))).inc(),
            "delivery.delivered": lambda fields: delivered.inc(_recipients(fields)),
            "delivery.deferred": lambda fields: deferred.inc(_recipients(fields)),
            "delivery.failed": lambda fields: failed.inc(_recipients(fields)),
            # a failure notice is a message too
            "message.bounced": lambda fields: metrics.messages_queued.inc(),
            "plugin.failed": lambda fields: metrics.plugin_failures.child(
                str(fields.get("plugin", "")), str(fields.get("hook", ""))
            ).inc(),
            "plugin.breaker_opened": lambda fields: metrics.plugin_breakers.child(str(fields.get("plugin", ""))).set(1),
            "plugin.recovered": lambda fields: metrics.plugin_breakers.child(str(fields.get("plugin", ""))).set(0),
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
            self._events.emit(name, fields)  # type: ignore[arg-type]


def count_sessions(metrics: Metrics, listeners: Sequence[tuple[str, Listener]]) -> None:
    """Take over what `listeners` count, once for each scrape; sockets of one listener bear one label."""
    totals: dict[str, list[int]] = {}
    for label, listener in listeners:
        total = totals.setdefault(label, [0, 0, 0, 0])
        total[0] += listener.accepted
        total[1] += listener.sessions
        total[2] += listener.turned_away
        total[3] += listener.strangers
    for label, (opened, now, refused, strangers) in totals.items():
        metrics.sessions.child(label).set(opened)
        metrics.sessions_open.child(label).set(now)
        metrics.sessions_refused.child(label, "too many").set(refused)
        metrics.sessions_refused.child(label, "no proxy").set(strangers)


def count_dns(metrics: Metrics, resolver: Resolver) -> None:
    """Take over what `resolver` counts, once for each scrape."""
    lookups = {
        "hit": resolver.hits,
        "joined": resolver.joined,
        "miss": resolver.misses,
        "stale": resolver.stale,
        "refused": resolver.refused,
    }
    for result, count in lookups.items():
        metrics.dns_lookups.child(result).set(count)
    for upstream in resolver.upstreams:
        questions = {
            "asked": upstream.questions,
            "tcp": upstream.by_tcp,
            "timeout": upstream.timeouts,
            "failed": upstream.failures,
        }
        for what, count in questions.items():
            metrics.dns_questions.child(upstream.label, what).set(count)


def count_queue(metrics: Metrics, totals: QueueTotals, now: float) -> None:
    """Take over what the spool holds; `now` is wall-clock seconds."""
    for state in ("routing", "ready", "active", "held"):
        metrics.queue.child(state).set(getattr(totals, state))
    metrics.queue_oldest.set(max(0.0, now - totals.oldest) if totals.oldest is not None else 0.0)


def _recipients(fields: Fields) -> int:
    count = fields.get("recipients", 1)
    return count if isinstance(count, int) else 1


def _ended(metrics: Metrics, fields: Fields) -> None:
    """Count a session's handshake, if it had one: by version, or as failed."""
    if fields.get("reason") == "XCLIENT":
        # the connection goes on in another session, which will tell of its handshake
        return
    tls = fields.get("tls")
    if isinstance(tls, str):
        metrics.tls_handshakes.child(tls.partition(" ")[0]).inc()
    elif str(fields.get("reason", "")).startswith("handshake"):
        metrics.tls_handshakes.child("failed").inc()


def _accepted(metrics: Metrics, fields: Fields) -> None:
    metrics.transactions_accepted.inc()
    metrics.received_bytes.inc(cast("int", fields.get("size", 0)))
    if not fields.get("discarded"):
        metrics.messages_queued.inc()


def _refused(metrics: Metrics, fields: Fields) -> None:
    reply = str(fields.get("reply", ""))
    if reply.startswith("5"):
        metrics.transactions_rejected.inc()
    elif reply.startswith("4"):
        metrics.transactions_deferred.inc()
    else:
        metrics.transactions_aborted.inc()
