"""Hints between workers: "there is new mail in these queues of yours". Datagrams on Unix sockets, fire and forget.

A hint only saves time: the owner of a queue polls the store in any case. So a hint is dropped, and counted, wherever it would have to
wait, and thousands for one worker in one turn of the loop become one datagram.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from upesi.control.paths import socket_address

__all__ = ["Hints", "remove_hints"]

# queue keys in one datagram; a key is at most some 260 octets, so that this stays below the kernel's 200 kB
_MAX_KEYS = 256
_MAX_DATAGRAM = 131072
# datagrams read in one turn, so that a flood of hints cannot keep the loop from mail
_MAX_READS = 16

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[str]).decode


def remove_hints(folder: str, name: str = "") -> None:
    """Remove the socket of the worker `name`, or all of them, from `folder`: a worker that was killed leaves its own behind.

    Only for who holds the lock on the folder, while no such worker lives.
    """
    for path in Path(folder).glob(f"hints.{name or '*'}"):
        path.unlink(missing_ok=True)


class Hints:
    """This worker's socket: sends hints to others, and gives received ones to `received`.

    Sockets are files `hints.NAME` in `folder`, which only our user can enter or write to. Raise OSError.
    """

    __slots__ = ("_flushing", "_folder", "_loop", "_path", "_pending", "_received", "_sock", "dropped")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, folder: str, name: str, received: Callable[[list[str]], None]
    ) -> None:
        self._loop = loop
        self._folder = folder
        self._received = received
        self._pending: dict[str, set[str]] = {}
        self._flushing: asyncio.Handle | None = None
        self.dropped = 0
        self._path = self._file(name)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if os.path.lexists(self._path):
                os.unlink(
                    self._path
                )  # of a worker with this name that was killed; the supervisor gives a name to one at a time
            with socket_address(self._path) as address:
                self._sock.bind(address)
            os.chmod(self._path, 0o600)
        except OSError:
            self._sock.close()
            raise
        loop.add_reader(self._sock.fileno(), self._read)

    def send(self, worker: str, queue: str) -> None:
        """Hint that `queue`, which `worker` owns, has something due; sent at the end of this turn of the loop."""
        waiting = self._pending.setdefault(worker, set())
        if len(waiting) < _MAX_KEYS:
            waiting.add(queue)
        elif queue not in waiting:
            self.dropped += 1
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close and remove the socket."""
        if self._flushing is not None:
            self._flushing.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass

    def _file(self, name: str) -> str:
        return os.path.join(self._folder, f"hints.{name}")

    def _flush(self) -> None:
        self._flushing = None
        pending, self._pending = self._pending, {}
        for worker, queues in pending.items():
            try:
                with socket_address(self._file(worker)) as address:
                    self._sock.sendto(_encode(list(queues)), address)
            except OSError:
                # full, gone, or being replaced: it polls
                self.dropped += len(queues)

    def _read(self) -> None:
        queues: set[str] = set()
        for _ in range(_MAX_READS):
            try:
                queues.update(_decode(self._sock.recv(_MAX_DATAGRAM)))
            except (BlockingIOError, InterruptedError):
                break
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # not ours to understand: a newer worker during an upgrade
        if queues:
            self._received(sorted(queues))
