"""All chains of a worker: one immutable object, built from the loaded plugins when the worker starts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

from upesi.config.problems import ConfigError, Problem
from upesi.config.units import Duration
from upesi.hooks.chain import Chain
from upesi.hooks.declaration import may_wait
from upesi.hooks.guard import Emit, Guard
from upesi.hooks.hook import DEADLINE, Hook, Running
from upesi.hooks.loading import BoundHook, LoadedPlugin
from upesi.hooks.order import Cycle, Placed, in_order
from upesi.hooks.points import POINTS, Report
from upesi.hooks.verdict import Verdict
from upesi.mail.reply import Reply
from upesi.mail.route import HostRoute, QuarantineRoute, Route

__all__ = ["Hooks"]


class Hooks:
    """One chain per hook point, by its name. `guards` is the health of every plugin, by name."""

    __slots__ = (*POINTS, "guards")

    EMPTY: ClassVar[Hooks]

    guards: dict[str, Guard]
    start: Chain[None]
    connect: Chain[Verdict]
    helo: Chain[Verdict]
    capabilities: Chain[Verdict]
    auth: Chain[Verdict]
    command: Chain[Reply]
    mail: Chain[Verdict]
    rcpt: Chain[Verdict]
    route: Chain[Route | QuarantineRoute]
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
        self.guards = {hook.guard.name: hook.guard for hook in listed}

    @classmethod
    def build(cls, plugins: Sequence[LoadedPlugin], *, monotonic: Callable[[], float], emit: Emit) -> Hooks:
        """Put the hooks of `plugins` in order; raise ConfigError where their declarations contradict each other.

        `monotonic` times the breakers, `emit` hears of every failure.
        """
        guards = {plugin.name: Guard(plugin.name, monotonic, emit) for plugin in plugins}
        hooks: list[Hook] = []
        problems: list[Problem] = []
        for point in POINTS:
            try:
                hooks += in_order(
                    [
                        (_place(plugin, bound), _hook(plugin, bound, guards[plugin.name]))
                        for plugin in plugins
                        for bound in plugin.hooks
                        if bound.declaration.point == point
                    ]
                )
            except Cycle as circle:
                problems.append(Problem("plugins", 0, point, f"their order is a circle: {circle}"))
        if problems:
            raise ConfigError(problems)
        return cls(hooks)

    async def begin(self) -> None:
        """Run the `start` hooks; the first that fails is raised, because a server with half of its plugins must not start."""
        for hook in self.start.hooks:
            await _run_out(hook)

    async def end(self) -> None:
        """Run the `stop` hooks, the last started first, each contained and within its deadline."""
        for hook in reversed(self.stop.hooks):
            answer = hook.call(())
            if type(answer) is Running:
                await hook.wait(answer)


async def _run_out(hook: Hook) -> None:
    failures = hook.guard.failures
    answer = hook.call(())
    if type(answer) is Running:
        await hook.wait(answer)
    if hook.guard.failures > failures:
        raise ConfigError([Problem(hook.file, hook.line, "", f"plugin {hook.guard.name} failed to start")])


def _place(plugin: LoadedPlugin, bound: BoundHook) -> Placed:
    return Placed(plugin.name, bound.declaration.after, bound.declaration.before)


def _hook(plugin: LoadedPlugin, bound: BoundHook, guard: Guard) -> Hook:
    settings, declaration = plugin.settings, bound.declaration
    code = getattr(inspect.unwrap(bound.function), "__code__", None)
    return Hook(
        POINTS[declaration.point],
        guard,
        bound.function,
        # the operator knows the scanner's machine; the author only knew what is usual
        deadline=settings.deadline or declaration.deadline or DEADLINE,
        defers=settings.on_error == "defer",
        mandatory=settings.mandatory or declaration.mandatory,
        final=settings.final,
        asynchronous=may_wait(bound.function),
        file=plugin.file,
        line=code.co_firstlineno if code is not None else 0,
    )


Hooks.EMPTY = Hooks()
