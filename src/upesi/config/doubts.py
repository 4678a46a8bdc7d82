"""What is valid and yet cannot be meant: it stops nothing, and `upesi config check` says it as a warning.

Tables that can never count, because one before them decides; submission listeners (RFC 6409) at which nobody can log in. Networks that may
relay can use the latter all the same, so they are no mistake. Networks that may relay and hold strangers. Numbers that defeat what they are
for: an expiry before the first retry, many more workers than processors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from upesi.config.fences import gaps
from upesi.config.origin import Origin
from upesi.config.problems import KeyPath, Problem
from upesi.config.settings import AuthMechanism, Config, ListenerTls, Role

__all__ = ["doubts"]

# workers for each processor: one is enough, two or three bridge waits for a slow disk, beyond four they only wait for each other
_WORKERS_EACH = 4


def doubts(config: Config, origin: Origin, *, judged_by_plugins: bool) -> Iterator[Problem]:
    """Yield each with its place. `judged_by_plugins`: a plugin has an `auth` hook."""
    oauth = config.auth.oauth
    judged = judged_by_plugins or bool(config.credentials or oauth.introspection or oauth.keys)
    for path, text in _submission(config, judged):
        yield origin.problem(path, text)
    for path, text in _unserved(config):
        yield origin.problem(path, text)
    for path, text in _relay(config):
        yield origin.problem(path, text)
    for path, text in _numbers(config):
        yield origin.problem(path, text)
    for path, text, other in _never(config):
        yield origin.problem(path, f"{text} {origin.place(other)}")


def _submission(config: Config, judged: bool) -> Iterator[tuple[KeyPath, str]]:
    for index, listener in enumerate(config.listener):
        # whoever switches AUTH off means it
        if listener.role is not Role.SUBMISSION or not listener.auth.enabled:
            continue
        here: KeyPath = ("listener", index)
        if not judged:
            text = "nobody can log in here: there is no [[credentials]], no auth.oauth and no plugin with an auth hook"
            yield (*here, "role"), text
        if listener.tls is ListenerTls.NONE and not listener.auth.without_tls:
            text = (
                "AUTH is never offered here: it needs tls, or auth.without_tls = true where nobody else is on the way"
            )
            yield (*here, "tls"), text


def _relay(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield what in the fence of the bundled plugin `relay` is open to strangers. It refuses the whole Internet itself."""
    networks = config.plugins.settings.get("relay", {}).get("networks")
    if "relay" in config.plugins.enabled and isinstance(networks, (list, tuple)):
        yield from gaps(networks, ("plugins", "relay", "networks"))


def _numbers(config: Config) -> Iterator[tuple[KeyPath, str]]:
    first = config.delivery.retry[0]
    if config.delivery.expire < first:
        text = f"is over before the first retry ({first}): mail that is deferred once is returned without a second try"
        yield ("delivery", "expire"), text
    # as those count that a worker may use (`runtime.sockets.workers_of`)
    processors = len(os.sched_getaffinity(0))
    if config.node.workers > _WORKERS_EACH * processors:
        machine = f"each processor of this machine (it has {processors})"
        yield ("node", "workers"), f"is more than {_WORKERS_EACH} for {machine}: they take memory and gain nothing"


def _unserved(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is needed for CRAM-MD5, which nobody says by mistake, and is not there: the only mechanism that is off by itself."""
    asked = AuthMechanism.CRAM_MD5 in config.auth.mechanisms
    for index, table in enumerate(config.credentials):
        if asked and not table.cram_md5:
            yield (
                ("auth", "mechanisms"),
                f"CRAM-MD5 is not offered: it needs cram_md5 = true in every [[credentials]], and number {index + 1} lacks it",
            )
            return
        if table.cram_md5 and not asked:
            text = "passwords that are kept readable serve nobody: auth.mechanisms has no CRAM-MD5"
            yield ("credentials", index, "cram_md5"), text


def _never(config: Config) -> Iterator[tuple[KeyPath, str, KeyPath]]:
    """Yield the path of what never counts, what to say of it, and the path of the table that decides instead."""
    yield from _behind("route", "domains", [route.domains for route in config.route])
    yield from _behind("destination", "domains", [entry.domains for entry in config.destination])
    yield from _behind("destination", "hosts", [entry.hosts for entry in config.destination])
    # a table without domains is everybody's
    yield from _behind("credentials", "domains", [table.domains or ("*",) for table in config.credentials])


def _behind(table: str, key: str, all_patterns: Iterable[tuple[str, ...]]) -> Iterator[tuple[KeyPath, str, KeyPath]]:
    # pattern: the first table that has it
    first: dict[str, int] = {}
    for index, patterns in enumerate(all_patterns):
        for position, pattern in enumerate(map(str.lower, patterns)):
            decides = next((first[wider] for wider in _wider(pattern) if wider in first), index)
            if decides != index:
                path: KeyPath = (table, index) if pattern == "*" else (table, index, key, position)
                what = "it" if pattern == "*" else repr(pattern)
                yield path, f"{what} never counts: the first that matches decides, which is", (table, decides)
        for pattern in map(str.lower, patterns):
            first.setdefault(pattern, index)


def _wider(pattern: str) -> Iterator[str]:
    """Yield every pattern that matches whatever `pattern` does: itself, each domain above it with its dot, everything."""
    yield pattern
    dot = pattern.find(".", 1) if not pattern.startswith("[") else -1
    while dot >= 0:
        yield pattern[dot:]
        dot = pattern.find(".", dot + 1)
    yield "*"
