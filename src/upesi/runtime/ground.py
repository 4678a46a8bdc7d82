"""What both halves of a worker stand on: its configuration, spool, resolver, routes, plugins, and where it tells what happens."""

from __future__ import annotations

import asyncio

import msgspec

from upesi.config.settings import Config
from upesi.delivery.routes import RouteTable
from upesi.dns.resolver import Resolver
from upesi.hooks.registry import Hooks
from upesi.mail.ids import MessageIds
from upesi.observe.events import Events
from upesi.observe.metrics import Metrics
from upesi.runtime.observer import Observer
from upesi.runtime.plugin_services import PluginServices
from upesi.spool.sqlite import SqliteStore
from upesi.store.aggregates import Aggregates
from upesi.store.failures import Failures
from upesi.store.lifetimes import SqliteKeys
from upesi.store.machine import MachineCounters

__all__ = ["Ground"]


class Ground(msgspec.Struct, frozen=True):
    """Made once at start by `runtime.wiring`, handed to the sending half, the listening half and the house."""

    config: Config
    loop: asyncio.AbstractEventLoop
    events: Events
    metrics: Metrics
    emit: Observer
    ids: MessageIds
    store: SqliteStore
    # what all workers of the machine count together
    counters: MachineCounters
    # and what they remember together: plugins ask for it as "store"
    keys: SqliteKeys
    # and what DMARC's reports will say: the plugin dmarc asks for it as "reports"
    aggregates: Aggregates
    # and which messages it wants told of at once, as "failures"; this worker's alone
    failures: Failures
    resolver: Resolver
    routes: RouteTable
    services: PluginServices
    hooks: Hooks
