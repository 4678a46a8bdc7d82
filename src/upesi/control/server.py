"""The control socket: a Unix socket on which the command line and the admin process speak to the supervisor.

Who connects is known from the kernel, not from what they say: our own user and root may speak, everybody else is hung up on (ADM-04). The
file's mode keeps others out before that.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Mapping

from upesi.control.channel import Channel, Handler, Peer, Watcher
from upesi.control.paths import bound_socket, socket_address
from upesi.mail.errors import UpesiError

__all__ = ["ControlInUse", "ControlServer", "peer_of"]

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))
# people and scripts; a runaway loop of them must not use up our descriptors
_MAX_CONNECTIONS = 64


class ControlInUse(UpesiError):
    """Somebody answers on this control socket: another server runs with the same spool."""


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """Ask the kernel who is at the other end."""
    raw = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Peer(*_CREDENTIALS.unpack(raw))


class ControlServer:
    """Serves `handlers` (name of the request -> handler) on a Unix socket."""

    __slots__ = ("_allowed", "_channels", "_failed", "_handlers", "_identity", "_path", "_peer", "_server")

    def __init__(
        self,
        path: str,
        handlers: Mapping[str, Handler],
        *,
        failed: Watcher,
        peer: Callable[[asyncio.BaseTransport], Peer] = peer_of,
        allowed: frozenset[int] | None = None,
    ) -> None:
        """Listen at `path` once started; `allowed` user ids may speak: by default ours and root."""
        self._path = path
        self._handlers = handlers
        self._failed = failed
        self._peer = peer
        self._allowed = allowed if allowed is not None else frozenset((os.getuid(), 0))
        self._channels: set[Channel] = set()
        self._server: asyncio.AbstractServer | None = None
        self._identity = (0, 0)

    async def start(self) -> None:
        """Make the socket, mode 0600, and listen; raise ControlInUse where somebody answers there already, OSError otherwise."""
        _refuse_if_answered(self._path)
        sock = bound_socket(self._path)
        status = os.stat(self._path)
        self._identity = (status.st_dev, status.st_ino)
        self._server = await asyncio.get_running_loop().create_unix_server(self._channel, sock=sock)

    async def stop(self) -> None:
        """Close everything, and remove the socket if it is still ours (a successor may have put its own there)."""
        if self._server is not None:
            self._server.close()
        for channel in list(self._channels):
            channel.close()
        try:
            status = os.stat(self._path)
            if (status.st_dev, status.st_ino) == self._identity:
                os.unlink(self._path)
        except FileNotFoundError:
            pass

    def _channel(self) -> Channel:
        channel = Channel(self._handlers, failed=self._failed, closed=self._channels.discard, admit=self._admit)
        self._channels.add(channel)
        return channel

    def _admit(self, transport: asyncio.BaseTransport) -> Peer:
        peer = self._peer(transport)
        if peer.uid not in self._allowed:
            raise PermissionError("only the server's user and root may speak here")
        if len(self._channels) > _MAX_CONNECTIONS:
            raise PermissionError("too many connections to the control socket")
        return peer


def _refuse_if_answered(path: str) -> None:
    with socket_address(path) as address, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return  # no socket, or one that nobody listens on
        except TimeoutError:
            pass  # its backlog is full: somebody is there, busy or hung
        raise ControlInUse(f"another server answers at {path}")
