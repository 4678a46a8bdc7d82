"""All chains of a worker: one immutable object, built from the loaded plugins when the worker starts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from upesi.config.units import Duration
from upesi.hooks.chain import Chain
from upesi.hooks.hook import Hook
from upesi.hooks.points import POINTS, Report
from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.mail.route import HostRoute, Route

__all__ = ["Hooks"]


class Hooks:
    """One chain per hook point, by its name."""

    __slots__ = (*POINTS, "guards")

    EMPTY: ClassVar[Hooks]

    start: Chain[None]
    connect: Chain[Verdict]
    helo: Chain[Verdict]
    capabilities: Chain[Verdict]
    auth: Chain[Verdict]
    command: Chain[Reply]
    mail: Chain[Verdict]
    rcpt: Chain[Verdict]
    route: Chain[Route]
    data: Chain[Verdict]
    message: Chain[Verdict]
    queued: Chain[None]
    denied: Chain[Verdict]
    reset: Chain[None]
    disconnect: Chain[None]
    attempt: Chain[Duration | Route]
    resolve: Chain[list[HostRoute]]
    delivered: Chain[None]
    deferred: Chain[Duration]
    bounced: Chain[Report]
    stop: Chain[None]

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        """`hooks` in the order in which they run at their points."""
        listed = tuple(hooks)
        by_point = {name: tuple(hook for hook in listed if hook.point.name == name) for name in POINTS}
        denied: Chain[Verdict] = Chain(POINTS["denied"], by_point["denied"])
        self.denied = denied
        for name, point in POINTS.items():
            if name != "denied":
                setattr(self, name, Chain(point, by_point[name], denied))
        # the health of every plugin, by name, for metrics and `upesi status`
        self.guards = {hook.guard.name: hook.guard for hook in listed}


Hooks.EMPTY = Hooks()
