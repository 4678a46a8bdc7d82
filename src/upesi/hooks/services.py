"""What a plugin may ask for in its constructor, by the names of its parameters."""

from __future__ import annotations

import time
from typing import Protocol

from upesi.hooks.guard import Emit

__all__ = ["SERVICES", "Clock", "PluginLog", "SystemClock", "Unused"]

# every service of the plugin API; which of them a worker has depends on what it was built with. `node` is this server's name, as in [node]
SERVICES = ("dns", "store", "lookup", "http", "connect", "clock", "node", "log")


class Clock(Protocol):
    """The time."""

    def now(self) -> float:
        """Return wall-clock seconds (Unix); they may step."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring."""
        ...


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> float:
        """Return wall-clock seconds (Unix)."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class Unused:
    """Stands for a service while a configuration is only checked: a plugin is made with it, and none of its hooks is called."""

    __slots__ = ()


class PluginLog:
    """A plugin's own log: `log("listed", client="192.0.2.1")` becomes the event "dnsbl.listed"."""

    __slots__ = ("_emit", "_plugin")

    def __init__(self, plugin: str, emit: Emit) -> None:
        self._plugin = plugin
        self._emit = emit

    def __call__(self, event: str, /, **fields: object) -> None:
        """Report `event` with `fields`; never message content, never a credential."""
        self._emit(f"{self._plugin}.{event}", fields)
