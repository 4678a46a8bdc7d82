"""A worker's joined objects, and what the supervisor may ask of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from upesi.control.hints import Hints
from upesi.limits.shares import Holder
from upesi.listener.listener import Listener
from upesi.listener.overload import OverloadWatch
from upesi.observe.lag import LoopLag
from upesi.runtime.ground import Ground
from upesi.runtime.handover import Handover
from upesi.runtime.observer import count_dns, count_sessions
from upesi.runtime.owners import Owners
from upesi.runtime.pressure import Pressure, count_pressure
from upesi.runtime.reporting import count_reports
from upesi.runtime.security import Security
from upesi.runtime.sending import Sending

__all__ = ["House"]


class House:
    """Everything of one worker, joined by `runtime.wiring`."""

    def __init__(
        self,
        ground: Ground,
        sending: Sending,
        listeners: Sequence[tuple[str, Listener]],
        pressure: Pressure,
        watch: OverloadWatch,
        security: Security,
        shares: Holder,
        owners: Owners,
        hints: Hints,
        handover: Handover,
        lag: LoopLag,
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        """`closing` is what sessions ask, and is let go of after them."""
        self.events = ground.events
        self.scheduler = sending.scheduler
        self.shares = shares
        self._ground = ground
        self._sending = sending
        self._listeners = listeners
        self._pressure = pressure
        self._watch = watch
        self._security = security
        self._owners = owners
        self._hints = hints
        self._handover = handover
        self._lag = lag
        self._closing = closing

    async def open(self) -> None:
        """Begin to accept and to deliver."""
        self.scheduler.start()
        self._watch.start()
        self._security.watch.start()
        for _, listener in self._listeners:
            await listener.start()

    def set_shards(self, own: frozenset[int], others: Mapping[str, Sequence[int]]) -> None:
        """Take note of who owns what."""
        self._owners.set(others)
        self._handover.meet(others)
        self.scheduler.set_shards(own)

    async def leave(self, seconds: float | None) -> None:
        """Stop accepting and finish: sessions within `seconds` (else the configured drain), deliveries too, or for as long as they take."""
        self._handover.leave()
        bound = float(self._ground.config.node.drain) if seconds is None else seconds
        loop = asyncio.get_running_loop()
        sessions = asyncio.gather(*(listener.drain(bound, patient=seconds is None) for _, listener in self._listeners))
        if seconds is None:
            # a reload: others own our shards as soon as nothing is in flight for them; what is past its final dot is waited for
            await sessions
            await self.scheduler.drain(loop.time() + 3600)
        else:
            await asyncio.gather(sessions, self.scheduler.drain(loop.time() + bound))

    def status(self) -> dict[str, object]:
        """Return what `upesi status` shows of this worker."""
        listeners = [
            {
                "name": name,
                "sessions": listener.sessions,
                "accepted": listener.accepted,
                "refused": listener.turned_away,
            }
            for name, listener in self._listeners
        ]
        plugins = {
            name: {"failures": guard.failures, "broken": guard.broken}
            for name, guard in self._ground.hooks.guards.items()
        }
        pressure = {"limited": sum(self._pressure.clients.refused.values()), "overload": self._watch.cause}
        return {**pressure, "listeners": listeners, "scheduler": self.scheduler.status(), "plugins": plugins}

    def metrics(self) -> bytes:
        """Return a snapshot for the machine's one metrics page."""
        status = self.scheduler.status(sites=0)
        metrics = self._ground.metrics
        metrics.memory_deliveries.set(status.deliveries)
        metrics.memory_bytes.set(status.bodies)
        metrics.connections_open.set(status.connections)
        metrics.log_dropped.set(self.events.dropped)
        metrics.connections.set(self._sending.connector.opened)
        metrics.handed_over.set(self._handover.given)
        count_sessions(metrics, self._listeners)
        count_dns(metrics, self._ground.resolver)
        count_pressure(metrics, self._pressure, self._watch)
        count_reports(metrics, self._ground.aggregates)
        return metrics.export()

    async def close(self) -> None:
        """Let go of everything; what was handed to the store is written first."""
        self._lag.stop()
        self._watch.stop()
        self._security.watch.stop()
        await self._ground.hooks.end()
        for close in self._closing:
            await close()
        self._sending.maildir.close()
        self._sending.pipe.close()
        await self._sending.web.close()
        self._ground.resolver.close()
        # The store first: it answers all that was handed over to us. Whoever is still waiting for a word when a line ends takes it that
        # nothing more will be written
        self._handover.leave()
        await self._ground.store.close()
        await self._handover.close()
        self._ground.counters.close()
        await self._ground.keys.close()
        self._hints.close()
        self.events.close()
