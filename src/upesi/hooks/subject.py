"""For which session or transaction a hook runs: what services know without being told by the plugin.

A context variable, because it follows a hook into the tasks that it starts, and because the constructor hands a plugin one service for all
sessions. It is set for hooks that are coroutines only: nobody else can wait for a service.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["SUBJECT"]

# the first argument of the hook; None outside of hooks
SUBJECT: ContextVar[object] = ContextVar("upesi.subject", default=None)
