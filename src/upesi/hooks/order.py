"""In which order the hooks of one point run: by `after=` and `before=`, and otherwise as the configuration lists the plugins.

A name in `after=` or `before=` that is not enabled does not matter here; that it exists at all is checked when plugins are loaded.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TypeVar

import msgspec

__all__ = ["Cycle", "Placed", "in_order"]

T = TypeVar("T")


class Cycle(ValueError):
    """Plugins that must each run before the other; the text names them in a circle."""


class Placed(msgspec.Struct, frozen=True):
    """One hook's place: the plugin that it belongs to, and the plugins that it runs after and before."""

    plugin: str
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


def in_order(hooks: Sequence[tuple[Placed, T]]) -> list[T]:
    """Return the hooks in the order in which they run; raise Cycle.

    Of those that may come next, the one listed first does: so nothing moves that no declaration moves.
    """
    followers = _followers([placed for placed, _ in hooks])
    waits = [0] * len(hooks)
    for targets in followers:
        for target in targets:
            waits[target] += 1
    ready = [index for index, count in enumerate(waits) if not count]
    done: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        done.append(index)
        for target in followers[index]:
            waits[target] -= 1
            if not waits[target]:
                heapq.heappush(ready, target)
    if len(done) < len(hooks):
        raise Cycle(_circle([placed.plugin for placed, _ in hooks], followers, set(range(len(hooks))) - set(done)))
    return [hooks[index][1] for index in done]


def _followers(hooks: list[Placed]) -> list[set[int]]:
    """Return for each hook which ones must come later."""
    of_plugin: dict[str, list[int]] = {}
    for index, placed in enumerate(hooks):
        of_plugin.setdefault(placed.plugin, []).append(index)
    followers: list[set[int]] = [set() for _ in hooks]
    for index, placed in enumerate(hooks):
        for name in placed.after:
            for other in of_plugin.get(name, ()):
                followers[other].add(index)
        for name in placed.before:
            followers[index].update(of_plugin.get(name, ()))
    return followers


def _circle(names: list[str], followers: list[set[int]], stuck: set[int]) -> str:
    """Walk along what waits for each other until a hook comes by again."""
    # walk backwards: everything that is stuck waits for something that is stuck, a follower may only hang on the circle
    waits_for = {index: next(i for i in sorted(stuck) if index in followers[i]) for index in stuck}
    index = min(stuck)
    path: list[int] = []
    while index not in path:
        path.append(index)
        index = waits_for[index]
    circle = [*path[path.index(index) :], index]
    return " after ".join(names[i] for i in circle)
