"""Unix socket addresses in folders of any depth.

The kernel takes 107 octets of path (unix(7)); a spool may lie deeper. A name relative to an open folder, through /proc, is always short.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["bound_socket", "socket_address"]

_MAX_PATH = 107


@contextmanager
def socket_address(path: str) -> Iterator[str]:
    """Give an address for `path` that bind() and connect() take, for the time of the block; raise OSError if its folder is missing."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)


def bound_socket(path: str) -> socket.socket:
    """Return a stream socket bound at `path`, mode 0600, non-blocking; raise OSError.

    It takes its name only when its mode is right: there is no moment at which others could connect.
    """
    fresh = f"{path}.{os.getpid()}"
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if os.path.lexists(fresh):
            os.unlink(fresh)
        with socket_address(fresh) as address:
            sock.bind(address)
        os.chmod(fresh, 0o600)
        os.rename(fresh, path)
    except OSError:
        sock.close()
        raise
    return sock
