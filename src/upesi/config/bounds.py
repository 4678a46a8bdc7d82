"""Checks of what limits clients and says when we are overloaded."""

from __future__ import annotations

from collections.abc import Iterator

from upesi.config.networks import network
from upesi.config.problems import KeyPath
from upesi.config.settings import Config
from upesi.config.units import Size

__all__ = ["check_bounds"]

Found = Iterator[tuple[KeyPath, str]]

# a counter of what is held at once has 16 bits for each worker
_MOST_CONNECTIONS = 60_000
# a worker that does nothing takes 45 MB, which is 0.7 of this (`overload.leave`): with less it would be overloaded for ever, and with
# less than it takes itself it would refuse all mail
_LEAST_MEMORY = Size("64MB")
_POSITIVE = ("calm", "command", "data_block", "hard_errors", "max_idle_commands", "min_rate_after", "lag")


def check_bounds(config: Config) -> Found:
    """Yield what is wrong in `limits` and `overload`."""
    yield from _limits(config)
    yield from _overload(config)


def _limits(config: Config) -> Found:
    limits = config.limits
    for index, text in enumerate(limits.exempt):
        try:
            network(text)
        except ValueError as error:
            yield ("limits", "exempt", index), str(error)
    for name, bits in (("ipv4_prefix", 32), ("ipv6_prefix", 128)):
        if not 1 <= getattr(limits, name) <= bits:
            yield ("limits", name), f"must be between 1 and {bits}"
    if not 0 <= limits.connections <= _MOST_CONNECTIONS:
        yield ("limits", "connections"), f"must be between 0 (no limit) and {_MOST_CONNECTIONS}"


def _overload(config: Config) -> Found:
    overload = config.overload
    for name in _POSITIVE:
        if getattr(overload, name) <= 0:
            yield ("overload", name), "must be more than 0"
    if 0 < overload.memory < _LEAST_MEMORY:
        yield (
            ("overload", "memory"),
            f"must be 0 (half of the machine's) or {_LEAST_MEMORY} at least: an empty worker takes 45MB, and below that all mail would be "
            "refused",
        )
    if not 0 < overload.enter <= 1:
        yield ("overload", "enter"), "is a part of what there is: more than 0, and 1 at most"
    if not 0 < overload.leave < overload.enter:
        yield (
            ("overload", "leave"),
            "must be more than 0 and below enter, or the mode would come and go with every client",
        )
    if not 0 <= overload.reserve <= 0.5:
        yield ("overload", "reserve"), "must be between 0 (none) and 0.5"
