"""What keeps a worker on its feet under load and attack: clients' limits, places, delays, the memory of message data, the overload mode."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path

import msgspec

from upesi.config.settings import Config, ListenerSettings, Role
from upesi.limits.memory import MemoryBudget
from upesi.listener.admission import Admission, places
from upesi.listener.listener import Listener
from upesi.listener.overload import OverloadWatch
from upesi.observe.lag import LoopLag
from upesi.observe.metrics import Metrics
from upesi.runtime.ground import Ground
from upesi.runtime.messages import InheritedListener
from upesi.session.clients import Clients
from upesi.session.delays import Delays

__all__ = [
    "Pressure",
    "Resident",
    "count_pressure",
    "descriptor_limit",
    "machine_memory",
    "make_pressure",
    "make_watch",
    "open_descriptors",
    "share_of",
]

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = "/proc/self/statm"
_DESCRIPTORS = "/proc/self/fd"
# where control groups say how much memory we may have (version 2, version 1)
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


class Resident:
    """How much memory this process has. The file is opened once: when descriptors run out it is asked most urgently."""

    __slots__ = ("_descriptor",)

    def __init__(self) -> None:
        self._descriptor = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)

    def __call__(self) -> int:
        """Return it in octets."""
        return int(os.pread(self._descriptor, 128, 0).split()[1]) * _PAGE

    def __del__(self) -> None:
        os.close(self._descriptor)


class Pressure(msgspec.Struct, frozen=True):
    """One worker's, shared by all its listeners."""

    clients: Clients
    delays: Delays
    admission: Admission
    budget: MemoryBudget
    # octets of memory that count as all
    memory: int


def make_pressure(ground: Ground, workers: int, listeners: Sequence[InheritedListener]) -> Pressure:
    """Return what the configuration says, for one of so many workers, and its sockets."""
    config = ground.config
    wanted = sum(share_of(config.listener[each.index], each) for each in listeners)
    most = min(wanted, places(descriptor_limit(), open_descriptors()))
    # without a listener for our own users there is nobody to keep places for
    kept = int(most * config.overload.reserve) if _has_own_users(config) else 0
    return Pressure(
        Clients(ground.counters, config.limits, ground.emit),
        Delays(config.smtp.max_delayed),
        Admission(most, kept),
        MemoryBudget(max(1, config.smtp.memory // workers)),
        config.overload.memory or machine_memory() // 2 // workers,
    )


def _has_own_users(config: Config) -> bool:
    return any(listener.role is Role.SUBMISSION for listener in config.listener)


def share_of(settings: ListenerSettings, inherited: InheritedListener) -> int:
    """Return how many sessions one socket of a listener may have: a limit over all sockets, never exceeded.

    The kernel spreads connections evenly but for chance.
    """
    return max(1, settings.max_sessions // inherited.sockets)


def make_watch(
    ground: Ground, pressure: Pressure, listeners: Sequence[tuple[str, Listener]], lag: LoopLag
) -> OverloadWatch:
    """Return the watch over this worker; harder terms are for listeners with the role mx, never for our own users."""
    config, admission = ground.config, pressure.admission
    resident = Resident()
    strangers = [listener for _, listener in listeners if listener.context.role is Role.MX]

    def sessions() -> float:
        return max((admission.sessions / admission.wanted, *(listener.occupied for listener in strangers)))

    return OverloadWatch(
        ground.loop,
        config.overload,
        config.smtp,
        contexts=[listener.context for listener in strangers],
        sessions=sessions,
        admission=admission,
        budget=pressure.budget,
        memory=lambda: resident() / pressure.memory,
        descriptors=lambda: (open_descriptors(), descriptor_limit()),
        lag=lambda: lag.last,
        emit=ground.emit,
    )


def count_pressure(metrics: Metrics, pressure: Pressure, watch: OverloadWatch) -> None:
    """Take over what clients were refused because of what they did together, and how the worker fares."""
    for limit, refused in pressure.clients.refused.items():
        metrics.clients_limited.child(limit).set(refused)
    metrics.overloaded.set(bool(watch.cause))
    metrics.overloads.set(watch.began)
    metrics.delayed.set(pressure.delays.waiting)
    metrics.session_bodies.set(pressure.budget.used)


def machine_memory() -> int:
    """Return how much memory the machine has, or our control group may have."""
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE
    for path in _CGROUPS:
        try:
            text = path.read_text("ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            memory = min(memory, int(text))
    return memory


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def open_descriptors() -> int:
    """Return how many descriptors are open: exactly where the kernel says it (Linux 6.2), else the lowest that is free.

    All below the lowest free one are open, and the kernel gives out the lowest: so that is near the truth when it matters.
    """
    count = os.stat(_DESCRIPTORS).st_size
    if count:
        return count
    try:
        free = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return descriptor_limit()
    os.close(free)
    return free
