"""What a reload cannot change: keys whose old value somebody still holds on to."""

from __future__ import annotations

from collections.abc import Callable

from upesi.config.settings import Config

__all__ = ["fixed_that_differ"]

_FIXED: dict[str, Callable[[Config], object]] = {
    "spool.path": lambda config: config.spool.path,
    "control.socket": lambda config: config.control.socket,
    "metrics.address": lambda config: config.metrics.address,
    "metrics.port": lambda config: config.metrics.port,
    # the spool belongs to that user, and so may old workers that still write to it
    "node.user": lambda config: config.node.user,
}


def fixed_that_differ(new: Config, old: Config) -> list[str]:
    """Return the names of keys that are not the same in both."""
    return [key for key, value in _FIXED.items() if value(new) != value(old)]
