"""The one place where a worker's objects are made and joined."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from upesi.client.connecting import Connector
from upesi.client.ourselves import Ourselves, is_local
from upesi.config.settings import Config, Role
from upesi.control.hints import Hints
from upesi.delivery.agents.discard import DiscardAgent
from upesi.delivery.agents.maildir import MaildirAgent
from upesi.delivery.agents.smtp import SmtpAgent
from upesi.delivery.deliverer import AgentDeliverer
from upesi.delivery.routes import RouteTable
from upesi.delivery.routing import MxRouter, own_names
from upesi.dns.confirmed import confirmed_name
from upesi.dns.resolver import Resolver
from upesi.dns.servers import configured_servers
from upesi.hooks.guard import Emit
from upesi.hooks.loading import load_plugins
from upesi.hooks.registry import Hooks
from upesi.hooks.services import SystemClock
from upesi.limits.shares import Holder
from upesi.listener.listener import Listener
from upesi.mail.ids import MessageIds
from upesi.observe.events import Events
from upesi.observe.lag import LoopLag
from upesi.observe.metrics import Metrics
from upesi.observe.setup import make_events, report_loop_errors
from upesi.protocol.smtp.limits import ServerLimits
from upesi.reports.dsn import DsnReporter
from upesi.runtime.delivery_hooks import delivery_hooks, hooked_router
from upesi.runtime.entropy import Entropy
from upesi.runtime.intake import SpoolIntake, place
from upesi.runtime.messages import Configure, decode_config
from upesi.runtime.observer import Observer, count_sessions
from upesi.runtime.owners import Owners
from upesi.runtime.sockets import listener_label
from upesi.scheduler.engine import Scheduler
from upesi.session.context import SessionContext
from upesi.spool.sqlite import SqliteStore

__all__ = ["House", "build", "build_hooks", "build_routes"]


def build_routes(config: Config) -> RouteTable:
    """Return the table of configured routes; raise ConfigError."""
    return RouteTable(config.route, config.delivery.smarthost, config.node.name)


def build_hooks(
    config: Config,
    path: Path | None,
    services: Mapping[str, object] | None = None,
    emit: Emit = lambda name, fields: None,
) -> Hooks:
    """Load the plugins and put their hooks in order; raise ConfigError.

    `path` is the configuration's file: messages name it, relative paths in plugins' settings are relative to its folder.
    """
    plugins = load_plugins(
        config.plugins,
        {"clock": SystemClock(), **(services or {})},
        emit,
        source=str(path) if path else "zero configuration",
        folder=path.parent if path else None,
    )
    return Hooks.build(plugins, monotonic=time.monotonic, emit=emit)


class House:
    """Everything of one worker, joined."""

    def __init__(
        self,
        config: Config,
        configure: Configure,
        events: Events,
        metrics: Metrics,
        store: SqliteStore,
        scheduler: Scheduler,
        hooks: Hooks,
        shares: Holder,
        owners: Owners,
        hints: Hints,
        listeners: Sequence[tuple[str, Listener]],
        maildir: MaildirAgent,
        lag: LoopLag,
        connector: Connector,
    ) -> None:
        self.config = config
        self.epoch = configure.epoch
        self.events = events
        self.scheduler = scheduler
        self.shares = shares
        self._metrics = metrics
        self._store = store
        self._hooks = hooks
        self._owners = owners
        self._hints = hints
        self._listeners = listeners
        self._maildir = maildir
        self._lag = lag
        self._connector = connector

    async def open(self) -> None:
        """Begin to accept and to deliver."""
        self.scheduler.start()
        for _, listener in self._listeners:
            await listener.start()

    def set_shards(self, own: frozenset[int], others: Mapping[str, Sequence[int]]) -> None:
        """Take note of who owns what."""
        self._owners.set(others)
        self.scheduler.set_shards(own)

    async def leave(self, seconds: float | None) -> None:
        """Stop accepting and finish: sessions within `seconds` (else the configured drain), deliveries too, or for as long as they take."""
        bound = float(self.config.node.drain) if seconds is None else seconds
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
            name: {"failures": guard.failures, "broken": guard.broken} for name, guard in self._hooks.guards.items()
        }
        return {"listeners": listeners, "scheduler": self.scheduler.status(), "plugins": plugins}

    def metrics(self) -> bytes:
        """Return a snapshot for the machine's one metrics page."""
        status = self.scheduler.status(sites=0)
        self._metrics.memory_deliveries.set(status.deliveries)
        self._metrics.memory_bytes.set(status.bodies)
        self._metrics.connections_open.set(status.connections)
        self._metrics.log_dropped.set(self.events.dropped)
        self._metrics.connections.set(self._connector.opened)
        count_sessions(self._metrics, self._listeners)
        return self._metrics.export()

    async def close(self) -> None:
        """Let go of everything; what was handed to the store is written first."""
        self._lag.stop()
        await self._hooks.end()
        self._maildir.close()
        await self._store.close()
        self._hints.close()
        self.events.close()


async def build(
    configure: Configure,
    shares: Holder,
    *,
    idle: Callable[[frozenset[int]], None],
    broken: Callable[[BaseException], None],
) -> House:
    """Make a worker's house from what the supervisor said; raise UpesiError."""
    config = decode_config(configure.config)
    loop = asyncio.get_running_loop()
    events = make_events(config.log, now=time.time, loop=loop, common={"worker": configure.slot})
    report_loop_errors(loop, events)
    metrics = Metrics()
    emit = Observer(events, metrics)
    ids = MessageIds(time.time, Entropy())

    store = await SqliteStore.open(
        Path(config.spool.path),
        configure.epoch,
        config.spool,
        time.time,
        lambda name, text: emit(name, {"text": text}),
        died=broken,
    )
    servers = configured_servers(config.dns.servers)
    resolver = Resolver(loop, servers, os.urandom, timeout=config.dns.timeout, cache_size=config.dns.cache_size)
    routes = build_routes(config)
    hooks = build_hooks(config, Path(configure.source) if configure.source else None, {"dns": resolver}, emit)
    mx = MxRouter(
        resolver,
        random.shuffle,
        loop.time,
        own=own_names(config.node.name),
        port=config.delivery.port,
        cache_size=config.dns.cache_size,
    )
    router = hooked_router(mx, hooks, emit, loop.time, config.dns.cache_size)
    # sockets of our own: closing them leaves the supervisor's
    sockets = [(inherited, socket.socket(fileno=os.dup(inherited.fd))) for inherited in configure.listeners]
    connector = Connector(
        loop,
        resolver,
        allow_private=config.delivery.allow_private,
        ourselves=Ourselves((sock.getsockname()[:2] for _, sock in sockets), is_local),
    )
    maildir = MaildirAgent(loop, config.node.name, time.time, os.urandom)
    deliverer = AgentDeliverer(
        SmtpAgent(loop, connector, config.delivery, config.node.name),
        maildir,
        DiscardAgent(loop),
    )
    reporter = DsnReporter(
        config.node.name, lambda route: place(router, route), routes.route_for, float(config.delivery.expire)
    )
    owners = Owners()
    intake: SpoolIntake

    def hint_all(queues: set[str]) -> None:
        for queue in queues:
            intake.hint(queue)

    scheduler = Scheduler(
        store,
        router,
        deliverer,
        reporter,
        config.delivery,
        ids=ids,
        wall=time.time,
        random=random.random,
        loop=loop,
        shares=shares,
        emit=emit,
        hint_others=hint_all,
        idle=idle,
        hooks=delivery_hooks(hooks),
    )
    hints = Hints(loop, config.spool.path, str(configure.epoch), scheduler.hint)
    intake = SpoolIntake(store, store.bodies, scheduler, router, routes, reporter, owners, hints, config.delivery)
    await hooks.begin()
    tasks: set[asyncio.Future[object]] = set()

    def spawn(awaitable: Awaitable[object]) -> None:
        task = asyncio.ensure_future(awaitable)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    listeners: list[tuple[str, Listener]] = []
    for inherited, sock in sockets:
        settings = config.listener[inherited.index]
        context = SessionContext(
            hooks=hooks,
            limits=ServerLimits(
                max_message_size=config.smtp.max_message_size,
                smtputf8=config.smtp.smtputf8,
                chunking=config.smtp.chunking,
            ),
            settings=config.smtp,
            hostname=config.node.name,
            ids=ids,
            now=time.time,
            intake=intake,
            emit=emit,
            spawn=spawn,
            listener=listener_label(settings, sock),
            lmtp=settings.role is Role.LMTP,
            resolve=partial(confirmed_name, resolver),
        )
        # a limit over all sockets, never exceeded: the kernel spreads connections evenly but for chance
        most = max(1, settings.max_sessions // inherited.sockets)
        listener = Listener(sock, context, max_sessions=most, backlog=settings.backlog)
        listeners.append((context.listener, listener))
    lag = LoopLag(loop, metrics.loop_lag)
    lag.start()
    return House(
        config, configure, events, metrics, store, scheduler, hooks, shares, owners, hints, listeners, maildir, lag,
        connector,
    )  # fmt: skip
