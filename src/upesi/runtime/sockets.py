"""Listening sockets: bound by the supervisor, one SO_REUSEPORT socket for each listener and worker slot, inherited by workers.

The kernel balances new connections over the sockets of a listener. The supervisor keeps every socket open, so nothing that waits in an
accept queue is lost when a worker is replaced; the next worker of that slot accepts it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from upesi.config.settings import ListenerSettings
from upesi.mail.errors import UpesiError

__all__ = ["ListenError", "bind", "close_all"]


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
            sock = _open(settings)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((settings.address, port))
            sock.listen(settings.backlog)
    except OSError as error:
        close_all(sockets)
        raise ListenError(_explain(settings, error)) from error
    return sockets


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
