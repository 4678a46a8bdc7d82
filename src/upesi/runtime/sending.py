"""The sending half of a worker: from the queue to the next hop."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec

from upesi.client.connecting import Connector
from upesi.client.ourselves import Ourselves
from upesi.client.tls import TlsClient, policy_context
from upesi.config.problems import SOMEWHERE, ConfigError, Problem
from upesi.config.settings import Config, DestinationSettings
from upesi.delivery.agents.discard import DiscardAgent
from upesi.delivery.agents.http import HttpAgent
from upesi.delivery.agents.maildir import MaildirAgent
from upesi.delivery.agents.pipe import PipeAgent
from upesi.delivery.agents.securing import Securing
from upesi.delivery.agents.smtp import SmtpAgent
from upesi.delivery.deliverer import AgentDeliverer
from upesi.delivery.policies import TlsPolicies, policy_of
from upesi.delivery.programs import programs_of
from upesi.delivery.routes import RouteTable
from upesi.delivery.routing import MxRouter, own_names
from upesi.limits.shares import Holder
from upesi.lookup.private import read_private, read_secret
from upesi.mail.errors import UpesiError
from upesi.mail.ids import MessageId
from upesi.reports.dsn import DsnReporter
from upesi.runtime.delivery_hooks import delivery_hooks, hooked_router
from upesi.runtime.ground import Ground
from upesi.runtime.intake import place
from upesi.runtime.web import Web
from upesi.scheduler.engine import Scheduler
from upesi.scheduler.work import Router

__all__ = ["Sending", "build_routes", "check_sending", "make_sending"]


class Sending(msgspec.Struct, frozen=True):
    """The scheduler and what it works with, as far as others ask for it."""

    router: Router
    reporter: DsnReporter
    scheduler: Scheduler
    maildir: MaildirAgent
    pipe: PipeAgent
    web: Web
    connector: Connector


def build_routes(config: Config) -> RouteTable:
    """Return the table of configured routes; raise ConfigError."""
    return RouteTable(config.route, config.delivery, config.node.name)


def check_sending(config: Config) -> None:
    """Read and try every file that is needed to reach others: certificates, authorities, passwords; raise UpesiError."""
    problems: list[Problem] = []
    for index, entry in enumerate(config.destination):
        # each file by itself, so that both are found
        for key, other in _TLS_FILES:
            try:
                if getattr(entry, key):
                    _try_tls(msgspec.structs.replace(entry, **{other: ""}))
            except (UpesiError, OSError) as error:
                problems.append(Problem(SOMEWHERE, 0, f"destination[{index}].{key}", str(error)))
    files = {f"route[{index}].password_file": route.password_file for index, route in enumerate(config.route)}
    files["delivery.smarthost_password_file"] = config.delivery.smarthost_password_file
    for key, file in files.items():
        try:
            if file:
                read_secret(Path(file))
        except UpesiError as error:
            problems.append(Problem(SOMEWHERE, 0, key, str(error)))
    problems += _program_problems(config)
    problems += _web_problems(config)
    if problems:
        raise ConfigError(problems)


def _program_problems(config: Config) -> list[Problem]:
    return [
        Problem(
            SOMEWHERE, 0, f"program[{index}].command", f"{program.command[0]} is no file that this user can execute"
        )
        for index, program in enumerate(config.program)
        if not (os.path.isfile(program.command[0]) and os.access(program.command[0], os.X_OK))
    ]


def _web_problems(config: Config) -> list[Problem]:
    if find_spec("aiohttp") is not None:
        return []
    return [
        Problem(
            SOMEWHERE,
            0,
            f"route[{index}].to",
            "web services are asked with the extra upesi[http], which is not installed",
        )
        for index, route in enumerate(config.route)
        if route.to.startswith(("https:", "http:"))
    ]


_TLS_FILES = (("tls_authorities", "tls_certificate"), ("tls_certificate", "tls_authorities"))


def _try_tls(entry: DestinationSettings) -> None:
    if entry.tls_certificate:
        read_private(Path(entry.tls_certificate), 0)  # it holds a key
    policy_context(policy_of(entry))


def make_sending(
    ground: Ground,
    shares: Holder,
    ourselves: Ourselves,
    *,
    hint_others: Callable[[set[str]], None],
    idle: Callable[[frozenset[int]], None],
    ended: Callable[[MessageId, bool], None],
) -> Sending:
    """Join the sending half; nothing is sent before the scheduler is started."""
    config, loop, routes = ground.config, ground.loop, ground.routes
    mx, router = _routers(ground)
    connector = Connector(loop, ground.resolver, allow_private=config.delivery.allow_private, ourselves=ourselves)
    maildir = MaildirAgent(loop, config.node.name, time.time, os.urandom)
    securing = Securing(TlsClient(loop.time), config.node.name, ground.emit, os.urandom)
    smtp = SmtpAgent(loop, connector, securing, config.delivery, time.time)
    pipe = PipeAgent(loop, programs_of(config.program))
    # a client of its own: mail must not take the connections that log-ins wait for
    web = Web(ground.resolver)
    http = HttpAgent(loop, web.client, float(config.delivery.http_timeout))
    agents = AgentDeliverer(smtp, maildir, pipe, http, DiscardAgent(loop))
    reporter = DsnReporter(
        config.node.name, lambda route: place(router, route), routes.route_for, float(config.delivery.expire),
        ground.services.own_mail.finished,
    )  # fmt: skip
    scheduler = Scheduler(
        ground.store,
        router,
        agents,
        reporter,
        config.delivery,
        ids=ground.ids,
        wall=time.time,
        random=random.random,
        loop=loop,
        shares=shares,
        emit=ground.emit,
        hint_others=hint_others,
        idle=idle,
        hooks=delivery_hooks(ground.hooks),
        current=mx.current,
        ended=ended,
    )
    return Sending(router, reporter, scheduler, maildir, pipe, web, connector)


def _routers(ground: Ground) -> tuple[MxRouter, Router]:
    """Return the router by MX, and what the scheduler asks: that one, or plugins first."""
    config, loop = ground.config, ground.loop
    policies = TlsPolicies(config.destination)
    mx = MxRouter(
        ground.resolver,
        random.shuffle,
        loop.time,
        own=own_names(config.node.name),
        port=config.delivery.port,
        policies=policies,
        cache_size=config.dns.cache_size,
    )
    return mx, hooked_router(mx, ground.hooks, ground.emit, loop.time, policies, config.dns.cache_size)
