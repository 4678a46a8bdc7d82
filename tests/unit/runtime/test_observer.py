"""What is counted from events, listeners and the spool."""

from __future__ import annotations

import asyncio
import os
import time
from types import SimpleNamespace

import pytest

from upesi.dns.resolver import Resolver
from upesi.mail.outcome import OutcomeKind
from upesi.observe.events import Events
from upesi.observe.metrics import Metrics
from upesi.runtime.observer import Observer, count_dns, count_queue, count_sessions
from upesi.spool.listing import QueueTotals


class Nowhere:
    """A sink that keeps nothing."""

    dropped = 0

    def write(self, lines: bytes, count: int) -> None:
        pass

    def close(self) -> None:
        pass


def observer() -> tuple[Observer, Metrics]:
    metrics = Metrics()
    return Observer(Events(Nowhere(), now=time.time), metrics), metrics


@pytest.mark.parametrize("kind", OutcomeKind)
def test_deliveries_are_counted_by_recipients(kind: OutcomeKind) -> None:
    """`upesi_deliveries_total` counts recipients, and one event may stand for many."""
    observe, metrics = observer()
    observe(f"delivery.{kind.value}", {"recipients": 3, "to": "a@x.example b@x.example c@x.example"})
    observe(f"delivery.{kind.value}", {"recipients": 1, "to": "a@x.example"})
    assert metrics.deliveries[kind].value == 4


def test_messages_that_became_durable_are_counted() -> None:
    """An accepted message counts unless it was discarded, and so does a failure notice."""
    observe, metrics = observer()
    observe("transaction.accepted", {"size": 10, "discarded": False})
    observe("transaction.accepted", {"size": 10, "discarded": True})
    observe("message.bounced", {"recipients": 1})
    assert metrics.messages_queued.value == 2
    assert metrics.received_bytes.value == 20


def test_sockets_of_one_listener_are_one_series() -> None:
    """After a reload to fewer workers one worker serves several sockets of a listener: they are added up."""
    metrics = Metrics()
    sockets = [
        SimpleNamespace(accepted=5, sessions=2, turned_away=1, strangers=0),
        SimpleNamespace(accepted=7, sessions=1, turned_away=0, strangers=3),
    ]
    count_sessions(metrics, [("mx", socket) for socket in sockets])  # type: ignore[misc]
    assert metrics.sessions.child("mx").value == 12
    assert metrics.sessions_open.child("mx").value == 3
    assert metrics.sessions_refused.child("mx", "too many").value == 1
    assert metrics.sessions_refused.child("mx", "no proxy").value == 3


def test_the_spool_is_counted_by_state() -> None:
    """Queue gauges are the spool's own counts; an empty spool has no oldest message."""
    metrics = Metrics()
    count_queue(metrics, QueueTotals(1, 2, 3, 4, 100.0), 160.0)
    counts = [metrics.queue.child(state).value for state in ("routing", "ready", "active", "held")]
    assert (counts, metrics.queue_oldest.value) == ([1, 2, 3, 4], 60.0)
    count_queue(metrics, QueueTotals(0, 0, 0, 0, None), 160.0)
    assert metrics.queue_oldest.value == 0


def test_handshakes_are_counted_by_version() -> None:
    """One series for each version and one for failures, whatever a client did to make its own fail."""
    observe, metrics = observer()
    for fields in (
        {"tls": "TLSv1.3 TLS_AES_256_GCM_SHA384", "reason": "quit"},
        {"tls": "TLSv1.2 ECDHE-RSA-AES256-GCM-SHA384", "reason": "quit"},
        {"reason": "handshake: unsupported protocol"},
        {"reason": "handshake: timeout"},
        {"reason": "quit"},
    ):
        observe("session.ended", fields)
    counted = {child: metrics.tls_handshakes.child(child).value for child in ("TLSv1.2", "TLSv1.3", "failed")}
    assert counted == {"TLSv1.2": 1, "TLSv1.3": 1, "failed": 2}


async def test_dns_is_counted_by_result_and_server():
    """What the resolver counts becomes two families, with servers as the configuration names them."""
    resolver = Resolver(asyncio.get_running_loop(), (("127.0.0.1", 53), ("2001:db8::1", 5353)), os.urandom)
    resolver.hits, resolver.misses = 3, 2
    resolver.upstreams[1].timeouts = 4
    metrics = Metrics()
    count_dns(metrics, resolver)
    assert metrics.dns_lookups.child("hit").value == 3
    assert metrics.dns_lookups.child("miss").value == 2
    assert metrics.dns_questions.child("[2001:db8::1]:5353", "timeout").value == 4
    assert metrics.dns_questions.child("127.0.0.1:53", "timeout").value == 0
