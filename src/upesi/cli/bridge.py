"""`sendmail -bs`: SMTP on standard input and output, carried to the local listener octet for octet."""

from __future__ import annotations

import os
import select
import socket

from upesi.cli.exchange import Unreachable

__all__ = ["bridge"]

_PIECE = 65536
_IDLE_SECONDS = 600.0


def bridge(host: str, port: int) -> int:
    """Carry octets both ways until the server hangs up; raise Unreachable. Return the exit code."""
    try:
        sock = socket.create_connection((host, port), timeout=30)
    except OSError as error:
        raise Unreachable(f"{host} port {port}: {error.strerror or error}") from error
    with sock:
        watched = [sock.fileno(), 0]
        while True:
            ready, _, _ = select.select(watched, [], [], _IDLE_SECONDS)
            if not ready:
                raise Unreachable("nobody said anything for ten minutes")
            if 0 in ready:
                data = os.read(0, _PIECE)
                if data:
                    sock.sendall(data)
                else:
                    # the program has said everything; what the server still answers is carried back
                    sock.shutdown(socket.SHUT_WR)
                    watched.remove(0)
            if sock.fileno() in ready:
                data = sock.recv(_PIECE)
                if not data:
                    return 0
                _write(data)


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
