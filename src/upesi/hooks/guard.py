"""What the framework knows about one plugin's health: failures, the breaker, and tasks that would not be cancelled.

A plugin that fails again and again is not called for a while; its `on_error` answers meanwhile (PLUGINS.md). So a scanner
that must run defers while it is down, it is not skipped. Nothing here calls a plugin: `hooks.hook` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from upesi.limits.breaker import BREAK_AFTER, BREAK_FOR, Breaker

__all__ = ["BREAK_AFTER", "BREAK_FOR", "CANCEL_GRACE", "MAX_RESISTING", "Emit", "Guard"]

# Seconds that a cancelled hook may take to clean up before it counts as one that resists
CANCEL_GRACE: Final = 1.0
# Tasks of one plugin that ignored their cancellation; with so many alive it is not called at all until one ends
MAX_RESISTING: Final = 16


# event ("plugin.failed") and fields; "exception", where there is one, is the exception itself, to be written with its traceback
Emit = Callable[[str, dict[str, object]], None]


class Guard:
    """The health of one plugin in one worker.

    `troubled` is all that the path of a healthy plugin looks at. `failures` and `deadlines` count for ever, for metrics.
    """

    __slots__ = ("_breaker", "_emit", "deadlines", "failures", "name", "resisting", "troubled")

    def __init__(self, name: str, now: Callable[[], float], emit: Emit) -> None:
        """`now` gives seconds that never go back."""
        self.name = name
        self.failures = 0
        self.deadlines = 0
        self.troubled = False
        self.resisting: set[asyncio.Task[object]] = set()
        self._breaker = Breaker(now)
        self._emit = emit

    def shut(self) -> bool:
        """Whether the plugin must not be called now.

        When the pause is over, one call per pause is let through: `recovered` after it closes the breaker.
        """
        return len(self.resisting) >= MAX_RESISTING or self._breaker.shut()

    @property
    def broken(self) -> bool:
        """Whether the breaker is open, for status displays."""
        return self._breaker.open

    def recovered(self) -> None:
        """Note that a call went well."""
        if self._breaker.succeeded():
            self._emit("plugin.recovered", {"plugin": self.name})
        self.troubled = bool(self.resisting)

    def failed(self, hook: str, reason: str, error: BaseException | None = None, *, where: str = "") -> None:
        """Count one failure and report it, with `error` for its traceback and `where`, FILE:LINE, for whoever mends it."""
        self.failures += 1
        self.troubled = True
        fields: dict[str, object] = {"plugin": self.name, "hook": hook, "reason": reason, "where": where}
        if error is not None:
            fields["exception"] = error
        self._emit("plugin.failed", fields)
        if self._breaker.failed():
            self._emit("plugin.breaker_opened", {"plugin": self.name, "failures": BREAK_AFTER, "seconds": BREAK_FOR})

    def late(self, hook: str, deadline: float, *, where: str = "") -> None:
        """Count one missed deadline: a failure too."""
        self.deadlines += 1
        self.failed(hook, f"no answer within {deadline:g} s", where=where)

    def abandon(self, task: asyncio.Task[object], hook: str) -> None:
        """Cancel `task` and let go of it; if it resists it is counted until it ends."""
        task.cancel()
        task.get_loop().call_later(CANCEL_GRACE, self._resists, task, hook)

    def _resists(self, task: asyncio.Task[object], hook: str) -> None:
        if task.done():
            return
        self.resisting.add(task)
        self.troubled = True
        task.add_done_callback(self.resisting.discard)
        self._emit("plugin.resists_cancellation", {"plugin": self.name, "hook": hook, "tasks": len(self.resisting)})
