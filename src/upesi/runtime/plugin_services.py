"""What plugins get of this worker: its services by name, made in one place and closed with the worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec

from upesi.client.peers import Peers
from upesi.config.units import Rate
from upesi.dns.resolver import Resolver
from upesi.hooks.dns_budget import Allowance, BoundedDns
from upesi.hooks.guard import Emit
from upesi.hooks.own_mail import OwnMail
from upesi.hooks.services import Absent, SystemClock, Unused
from upesi.http.service import HttpService
from upesi.lookup.tables import CheckedTables, Tables
from upesi.runtime.web import Web
from upesi.store.counters import Counters
from upesi.store.lifetimes import SqliteKeys

__all__ = ["PluginServices", "checked_services", "make_services"]


class PluginRates:
    """The service `rates`: the machine's counters, under names of their own."""

    __slots__ = ("_counters",)

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def take(self, key: str, rate: Rate, n: int = 1) -> bool:
        """Count `n` events of `key`, unless that were more than `rate`."""
        return self._counters.take(b"plugin:" + key.encode(errors="surrogatepass"), rate, n)


class PluginServices(msgspec.Struct, frozen=True):
    """The services by name, and what must be closed."""

    by_name: dict[str, object]
    tables: Tables
    web: Web
    # what plugins put on top of notices and reports
    own_mail: OwnMail


def make_services(
    loop: asyncio.AbstractEventLoop,
    emit: Emit,
    resolver: Resolver,
    keys: SqliteKeys,
    folder: Path,
    allowance: Allowance,
    counters: Counters,
) -> PluginServices:
    """Make what a worker has; nothing is connected yet. `folder` is the one that relative paths are relative to."""
    tables = Tables(loop, lambda name, fields: emit(name, dict(fields)), folder)
    web = Web(resolver)

    async def addresses(name: str) -> tuple[str, ...]:
        return (await resolver.addresses(name)).texts

    services: dict[str, object] = {
        "clock": SystemClock(),
        "dns": BoundedDns(resolver, allowance, loop.time, emit),
        "store": keys,
        "rates": PluginRates(counters),
        "lookup": tables,
        "connect": Peers(addresses, loop.time),
        "http": _http(web, loop.time),
        "own_mail": (own_mail := OwnMail(emit)),
    }
    return PluginServices(services, tables, web, own_mail)


def checked_services(folder: Path) -> dict[str, object]:
    """Return what stands for the services while a configuration is only checked: what files and addresses can be wrong is found."""
    return {
        "clock": SystemClock(),
        "dns": Unused(),
        "store": Unused(),
        "lookup": CheckedTables(folder),
        "connect": Peers(_nowhere, time.monotonic),
        "http": Unused() if find_spec("aiohttp") is not None else _NO_HTTP,
        "rates": Unused(),
        "own_mail": OwnMail(lambda name, fields: None),
        "reports": Unused(),
        "failures": Unused(),
    }


_NO_HTTP = Absent("it takes a library: pip install 'upesi[http]'")


def _http(web: Web, now: Callable[[], float]) -> HttpService | Absent:
    return HttpService(web.client, now) if find_spec("aiohttp") is not None else _NO_HTTP


async def _nowhere(name: str) -> tuple[str, ...]:
    return ()
