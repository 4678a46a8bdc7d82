"""The one place where a worker's objects are made and joined: the ground, then its sending and its listening half."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from upesi.client.ourselves import Ourselves, is_local
from upesi.config.settings import Config
from upesi.control.hints import Hints
from upesi.dns.resolver import Resolver
from upesi.dns.servers import configured_servers
from upesi.hooks.dns_budget import Allowance
from upesi.hooks.guard import Emit
from upesi.hooks.loading import load_plugins
from upesi.hooks.registry import Hooks
from upesi.limits.shares import Holder
from upesi.mail.ids import MessageIds
from upesi.observe.lag import LoopLag
from upesi.observe.metrics import Metrics
from upesi.observe.setup import make_events, report_loop_errors, report_unraisable
from upesi.runtime.accounts import make_accounts
from upesi.runtime.authentication import Authentication
from upesi.runtime.cut_through import CutThrough
from upesi.runtime.entropy import Entropy
from upesi.runtime.failure_reporting import make_failure_sender
from upesi.runtime.ground import Ground
from upesi.runtime.handover import Handover
from upesi.runtime.house import House
from upesi.runtime.intake import SpoolIntake
from upesi.runtime.listening import make_listeners, take_sockets
from upesi.runtime.messages import Configure, decode_config
from upesi.runtime.observer import Observer
from upesi.runtime.owners import Owners
from upesi.runtime.plugin_services import checked_services, make_services
from upesi.runtime.pressure import make_pressure, make_watch
from upesi.runtime.queue_start import Ask, make_etrn
from upesi.runtime.reporting import make_aggregates, make_report_sender
from upesi.runtime.security import Security
from upesi.runtime.sending import build_routes, make_sending
from upesi.runtime.shared import open_counters
from upesi.runtime.tasks import OwnTasks
from upesi.runtime.tokens import make_tokens
from upesi.spool.sqlite import SqliteStore
from upesi.store.failures import Failures
from upesi.store.lifetimes import SqliteKeys

__all__ = ["build", "build_hooks", "build_routes"]


def build_hooks(
    config: Config,
    path: Path | None,
    services: Mapping[str, object] | None = None,
    emit: Emit = lambda name, fields: None,
) -> Hooks:
    """Load the plugins and put their hooks in order; raise ConfigError. Without `services` they are only looked at.

    `path` is the configuration's file: messages name it, relative paths in plugins' settings are relative to its folder.
    """
    folder = path.parent if path else Path()
    plugins = load_plugins(
        config.plugins,
        {"node": config.node.name, **(checked_services(folder) if services is None else services)},
        emit,
        source=str(path) if path else "zero configuration",
        folder=folder,
    )
    return Hooks.build(plugins, monotonic=time.monotonic, emit=emit)


async def build(
    configure: Configure,
    shares: Holder,
    *,
    idle: Callable[[frozenset[int]], None],
    broken: Callable[[BaseException], None],
    ask: Ask | None = None,
) -> House:
    """Make a worker's house from what the supervisor said; raise UpesiError. `ask` asks the supervisor something."""
    ground = await _ground(configure, broken)
    owners = Owners()
    intake: SpoolIntake

    def hint_others(queues: set[str]) -> None:
        for queue in queues:
            intake.hint(queue)

    sockets = take_sockets(configure.listeners)
    pressure = make_pressure(ground, configure.workers, configure.listeners)
    ourselves = Ourselves((sock.getsockname()[:2] for _, sock in sockets), is_local)
    cut_through = CutThrough(ground.loop, enabled=ground.config.spool.cut_through)
    sending = make_sending(ground, shares, ourselves, hint_others=hint_others, idle=idle, ended=cut_through.ended)
    hints = Hints(ground.loop, ground.config.spool.path, str(configure.epoch), sending.scheduler.hint)
    # hooks and looks that no session waits for; chains contain plugins' failures, so what arrives here is our own
    unawaited = OwnTasks(lambda error: ground.events.failure("worker.failed", error, {"request": "hook"}))
    handover = Handover(
        ground.loop,
        ground.config.spool.path,
        str(configure.epoch),
        lambda message, answer: intake.keep(message, answer),
    )
    intake = SpoolIntake(
        ground.store,
        ground.store.bodies,
        sending.scheduler,
        sending.router,
        ground.routes,
        sending.reporter,
        owners,
        hints,
        handover,
        cut_through,
        ground.config.delivery,
        pressure.budget,
        unawaited.run,
        ground.emit,
    )
    await handover.start()
    await ground.hooks.begin()
    security = Security(ground.config, ground.emit, ground.loop, warns=configure.slot == 0)
    web = ground.services.web
    accounts = make_accounts(ground, sending.connector, web)
    tokens = make_tokens(ground.config.auth, web.client, ground.loop.time)
    authentication = Authentication(ground, accounts, tokens)
    etrn = make_etrn(ground.config.etrn, ask)
    listeners = make_listeners(ground, intake, sockets, unawaited.run, pressure, security, authentication, etrn)
    lag = LoopLag(ground.loop, ground.metrics.loop_lag)
    lag.start()
    watch = make_watch(ground, pressure, listeners, lag)
    reports = make_report_sender(ground, intake, sends=configure.slot == 0)
    closing = [
        reports,
        make_failure_sender(ground, intake),
        ground.aggregates.close,
        ground.services.tables.close,
        web.close,
    ]
    if accounts is not None:
        closing.insert(0, accounts.close)
    return House(ground, sending, listeners, pressure, watch, security, shares, owners, hints, handover, lag, closing)


async def _ground(configure: Configure, broken: Callable[[BaseException], None]) -> Ground:
    config = decode_config(configure.config)
    loop = asyncio.get_running_loop()
    events = make_events(config.log, now=time.time, loop=loop, common={"worker": configure.slot})
    report_loop_errors(loop, events)
    report_unraisable(events)
    metrics = Metrics()
    emit = Observer(events, metrics)
    store = await SqliteStore.open(
        Path(config.spool.path),
        configure.epoch,
        config.spool,
        time.time,
        lambda name, text: emit(name, {"text": text}),
        died=broken,
    )
    resolver = Resolver(
        loop,
        configured_servers(config.dns.servers),
        os.urandom,
        timeout=config.dns.timeout,
        cache_size=config.dns.cache_size,
        serve_stale=config.dns.serve_stale,
        trusted=config.dns.trusted,
        mix_case=config.dns.mix_case,
        emit=emit,
    )
    source = Path(configure.source) if configure.source else None
    keys = SqliteKeys(Path(config.spool.path) / "keys.db", time.time)
    counters = open_counters(Path(config.spool.path), emit)
    allowance = Allowance(config.dns.max_per_message, config.dns.message_timeout)
    services = make_services(loop, emit, resolver, keys, source.parent if source else Path(), allowance, counters)
    aggregates = make_aggregates(config)
    services.by_name["reports"] = aggregates
    services.by_name["failures"] = failures = Failures(loop.time)
    hooks = build_hooks(config, source, services.by_name, emit)
    ids = MessageIds(time.time, Entropy())
    return Ground(
        config, loop, events, metrics, emit, ids, store, counters, keys, aggregates, failures, resolver,
        build_routes(config), services, hooks,
    )  # fmt: skip
