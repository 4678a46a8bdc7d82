"""Hooks, sessions and a log for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable

from upesi.hooks.guard import Guard
from upesi.hooks.hook import Hook
from upesi.hooks.points import POINTS
from upesi.hooks.registry import Hooks
from upesi.hooks.session import Client, Session, Transaction
from upesi.mail.envelope import Transmission
from upesi.mail.ids import MessageId
from upesi.testkit import FakeClock


class Bench:
    """Makes guarded hooks and remembers what was reported."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.events: list[tuple[str, dict[str, object]]] = []
        self.guards: dict[str, Guard] = {}
        self.session = Session("s1", Client("192.0.2.1", 4711), "mx")
        self.tx = Transaction(self.session, MessageId(bytes(16)), None, Transmission(), None)

    def hook(self, point: str, function: Callable[..., object], plugin: str = "one", **options: object) -> Hook:
        guard = self.guards.setdefault(
            plugin, Guard(plugin, self.clock.monotonic, lambda event, fields: self.events.append((event, fields)))
        )
        return Hook(POINTS[point], guard, function, **options)  # type: ignore[arg-type]

    def hooks(self, *hooks: Hook) -> Hooks:
        return Hooks(hooks)

    def names(self) -> list[str]:
        """The events' names."""
        return [event for event, _ in self.events]


def answering(answer: object) -> Callable[..., object]:
    """A plain hook that always gives this answer."""
    return lambda *arguments: answer


def answering_later(answer: object) -> Callable[..., object]:
    """An asynchronous hook that gives this answer."""

    async def hook(*arguments: object) -> object:
        return answer

    return hook
