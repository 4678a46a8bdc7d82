"""What a worker counts. Every series that exists from the start is bound here, so that counting is one method call.

Labels are closed sets, or bounded by the configuration (listeners, plugins): never a domain, an address or a name that a client sent.
"""

from __future__ import annotations

from upesi.mail.outcome import OutcomeKind
from upesi.observe.series import Counter, Gauge, Histogram, Registry

__all__ = ["Metrics"]

# above 50 ms somebody computes on the loop; 5 s is where the supervisor takes the worker for dead
_LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class Metrics:
    """All metrics of one worker. Families are asked for a child at start or per session, the others are counted directly."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self._of_clients(self.registry)
        self._of_mail_in(self.registry)
        self._of_queue(self.registry)
        self._of_mail_out(self.registry)
        self._of_worker(self.registry)

    def _of_clients(self, registry: Registry) -> None:
        counter, gauge = registry.counter, registry.gauge
        self.sessions = counter("upesi_sessions_total", "Sessions that were opened", ["listener"])
        self.sessions_open = gauge("upesi_sessions_open", "Sessions open now", ["listener"])
        self.tls_handshakes = counter(
            "upesi_tls_handshakes_total", "TLS handshakes of clients, by what came of them", ["result"]
        )
        self.sessions_refused = counter(
            "upesi_sessions_refused_total", "Clients turned away at once", ["listener", "reason"]
        )
        self.clients_limited = counter(
            "upesi_clients_limited_total", "Refusals because of what one client did over all sessions", ["limit"]
        )
        self.overloaded: Gauge = gauge("upesi_overloaded_workers", "Workers in overload mode now").child()
        self.overloads: Counter = counter("upesi_overloads_total", "Times that overload mode was entered").child()
        self.delayed: Gauge = gauge("upesi_delayed_replies", "Replies that are kept waiting now").child()
        self.session_bodies: Gauge = gauge(
            "upesi_session_bodies_bytes", "Message data in memory that sessions are receiving or have not stored"
        ).child()
        self.authentications = counter(
            "upesi_authentications_total", "Attempts to authenticate by their outcome", ["outcome"]
        )

    def _of_mail_in(self, registry: Registry) -> None:
        counter = registry.counter
        transactions = counter("upesi_transactions_total", "Mail transactions by their end", ["outcome"])
        self.transactions_accepted: Counter = transactions.child("accepted")
        self.transactions_rejected: Counter = transactions.child("rejected")
        self.transactions_deferred: Counter = transactions.child("deferred")
        self.transactions_aborted: Counter = transactions.child("aborted")
        self.received_bytes: Counter = counter("upesi_received_bytes_total", "Octets of accepted messages").child()
        self.messages_queued: Counter = counter("upesi_messages_queued_total", "Messages made durable").child()

    def _of_queue(self, registry: Registry) -> None:
        gauge = registry.gauge
        # these two are the supervisor's, once for each scrape
        self.queue = gauge("upesi_queue_deliveries", "Deliveries in the spool by state", ["state"], merge="max")
        self.queue_oldest: Gauge = gauge(
            "upesi_queue_oldest_seconds", "Age of the oldest message in the spool", merge="max"
        ).child()
        self.memory_deliveries: Gauge = gauge("upesi_memory_deliveries", "Deliveries in memory").child()
        self.memory_bytes: Gauge = gauge("upesi_memory_bodies_bytes", "Message data held for the first attempt").child()

    def _of_mail_out(self, registry: Registry) -> None:
        counter = registry.counter
        deliveries = counter("upesi_deliveries_total", "Recipients by the outcome of an attempt", ["outcome"])
        self.deliveries: dict[OutcomeKind, Counter] = {kind: deliveries.child(kind.value) for kind in OutcomeKind}
        self.connections_open: Gauge = registry.gauge(
            "upesi_connections_open", "Connections to other servers open now"
        ).child()
        self.connections: Counter = counter(
            "upesi_connections_total", "Connections to other servers that were opened"
        ).child()
        self.handed_over: Counter = counter(
            "upesi_messages_handed_over_total", "Messages that the worker which owns their queue wrote for another one"
        ).child()
        self.reports_dropped: Counter = counter(
            "upesi_reports_dropped_messages_total", "Messages of which no DMARC aggregate report will tell"
        ).child()

    def _of_worker(self, registry: Registry) -> None:
        counter, gauge = registry.counter, registry.gauge
        self.dns_lookups = counter(
            "upesi_dns_lookups_total",
            "Lookups: hit (in memory), joined (asked already), miss, stale, refused (too many)",
            ["result"],
        )
        self.dns_questions = counter(
            "upesi_dns_questions_total",
            "Questions to a server: asked, by TCP, without answer, refused or unreachable",
            ["server", "what"],
        )
        self.plugin_failures = counter(
            "upesi_plugin_failures_total", "Exceptions, deadlines and wrong answers of plugins", ["plugin", "hook"]
        )
        self.plugin_breakers = gauge(
            "upesi_plugin_breaker_open", "1 while a plugin failed too often and is not called", ["plugin"], merge="max"
        )
        self.loop_lag: Histogram = registry.histogram(
            "upesi_loop_lag_seconds", "How late the event loop's timers fire", _LAG_BOUNDS
        ).child()
        self.log_dropped: Gauge = gauge("upesi_log_dropped_events", "Log lines lost since the worker's start").child()

    def export(self) -> bytes:
        """Return a compact snapshot for the supervisor's `Merge.update`."""
        return self.registry.export()
