"""Listening sockets: bound by the supervisor, one SO_REUSEPORT socket for each listener and worker slot, inherited by workers.

The kernel balances new connections over the sockets of a listener. The supervisor keeps every socket open, so nothing that waits in an
accept queue is lost when a worker is replaced; the next worker of that slot accepts it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from upesi.config.settings import Config, ListenerSettings
from upesi.mail.errors import UpesiError
from upesi.runtime.messages import InheritedListener

__all__ = [
    "Bound",
    "ListenError",
    "bind",
    "bind_all",
    "close_all",
    "close_fresh",
    "inherited",
    "listener_label",
    "workers_of",
]

# as configured: address and port
Address = tuple[str, int]
Bound = dict[Address, list[socket.socket]]


class ListenError(UpesiError):
    """A listening address cannot be had; the text says which, why, and what to do."""


def bind(settings: ListenerSettings, slots: int) -> list[socket.socket]:
    """Return `slots` listening sockets that share the address of `settings`; raise ListenError.

    SO_REUSEPORT would let a second instance join in silence and take half of the connections, so the address is first
    bound without it: that fails where anybody listens already.
    """
    sockets: list[socket.socket] = []
    try:
        with _open(settings) as probe:
            probe.bind((settings.address, settings.port))
            # port 0 (tests): the kernel's choice must be the same for all slots
            port = probe.getsockname()[1]
            probe.close()
        for _ in range(slots):
            sock = _join(settings, (settings.address, port))
            sockets.append(sock)
            sock.listen(settings.backlog)
    except OSError as error:
        close_all(sockets)
        raise ListenError(_explain(settings, error)) from error
    return sockets


def bind_all(
    listeners: Sequence[ListenerSettings],
    slots: int,
    bound: Mapping[Address, list[socket.socket]] = MappingProxyType({}),
) -> Bound:
    """Return at least `slots` sockets for each of `listeners`, taking those that are `bound` already; raise ListenError.

    What is added beside sockets that are in use does not listen yet: it would get its share of the connections
    before anybody accepts them. The worker makes it listen.
    """
    result: Bound = {}
    try:
        for settings in listeners:
            key = (settings.address, settings.port)
            if key in bound:
                result[key] = _extended(settings, bound[key], slots)
            elif key not in result:
                result[key] = bind(settings, slots)
    except UpesiError:
        close_fresh(result, bound)
        raise
    return result


def _extended(settings: ListenerSettings, bound: list[socket.socket], slots: int) -> list[socket.socket]:
    """Return `bound` and as many more on the same address as are missing."""
    sockets = list(bound)
    address = bound[0].getsockname()
    try:
        while len(sockets) < slots:
            sockets.append(_join(settings, address))
    except OSError as error:
        close_all(sockets[len(bound) :])
        raise ListenError(_explain(settings, error)) from error
    return sockets


def _join(settings: ListenerSettings, address: tuple[object, ...]) -> socket.socket:
    sock = _open(settings)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def close_fresh(sockets: Mapping[Address, list[socket.socket]], bound: Mapping[Address, list[socket.socket]]) -> None:
    """Close those of `sockets` that are not `bound`."""
    for key, each in sockets.items():
        close_all([sock for sock in each if sock not in bound.get(key, ())])


def listener_label(settings: ListenerSettings, sock: socket.socket) -> str:
    """Return what events and metrics call a listener: its name, else address and port as bound."""
    address, port = sock.getsockname()[:2]
    return settings.name or (f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close every one of `sockets`."""
    for sock in sockets:
        sock.close()


def _open(settings: ListenerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    # connections of an earlier run in TIME_WAIT must not hinder a restart
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # one listener, one address: an IPv6 listener does not take IPv4 mail by surprise
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.setblocking(False)
    return sock


_ADVICE = {
    errno.EADDRINUSE: "something listens there already; stop it, or choose another listener.port",
    errno.EACCES: "ports below 1024 need root, or CAP_NET_BIND_SERVICE",
    errno.EPERM: "ports below 1024 need root, or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "this machine does not have that address; correct listener.address",
}


def _explain(settings: ListenerSettings, error: OSError) -> str:
    advice = _ADVICE.get(error.errno or 0, error.strerror or "cannot listen")
    return f"cannot listen on {settings.address} port {settings.port}: {advice}"


def workers_of(config: Config) -> int:
    """How many workers `config` asks for: one per processor that we may use, unless it says."""
    return config.node.workers or len(os.sched_getaffinity(0))


def inherited(config: Config, slot: int, bound: Bound) -> list[InheritedListener]:
    """Return the sockets of `slot`. Where a reload made the crew smaller, the odd sockets go to those who remain: nothing waits unheard."""
    workers = workers_of(config)
    return [
        InheritedListener(index, sock.fileno(), len(bound[listener.address, listener.port]))
        for index, listener in enumerate(config.listener)
        for place, sock in enumerate(bound[listener.address, listener.port])
        if place % workers == slot
    ]
