"""A next hop that reads strictly and keeps the octets: what came over the wire in DATA, dots and all, or in BDAT chunks."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from dataclasses import dataclass

__all__ = ["Arrived", "NextHop"]


@dataclass(frozen=True)
class Arrived:
    """One transaction. `wire` is what came for the content, before dots were removed; `chunked` says that it came by BDAT.

    `commands` are its MAIL and RCPT commands as they came.
    """

    reverse_path: str
    forward_paths: tuple[str, ...]
    wire: bytes
    chunked: bool
    commands: tuple[str, ...] = ()

    @property
    def content(self) -> bytes:
        """The message."""
        if self.chunked:
            return self.wire
        unstuffed = (line.removeprefix(b".") for line in self.wire.split(b"\r\n"))
        return b"\r\n".join(unstuffed)


class NextHop:
    """An SMTP server in threads. A context manager. `offer` says what EHLO announces.

    `lost_replies`: so many times more the connection is closed in place of the reply to the final dot.
    """

    def __init__(self) -> None:
        self.keywords: tuple[str, ...] = ()
        self.connections: set[socket.socket] = set()
        self.lost_replies = 0
        self.arrived: list[Arrived] = []
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.hop = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> NextHop:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def offer(self, *keywords: str) -> None:
        """Announce these from now on. Connections that heard others are closed, for a client may keep them for more mail."""
        if keywords == self.keywords:
            return
        self.keywords = keywords
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait_for(self, count: int, patience: float = 15.0) -> list[Arrived]:
        """Return what has arrived once there are `count`; fail after `patience` seconds."""
        end = time.monotonic() + patience
        while len(self.arrived) < count:
            assert time.monotonic() < end, f"{len(self.arrived)} of {count} messages have arrived: {self.arrived}"
            time.sleep(0.005)
        return list(self.arrived)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    hop: NextHop

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a sender may reset its connection."""


class _Session(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        connections = self.server.hop.connections
        connections.add(self.request)
        try:
            self._converse()
        finally:
            connections.discard(self.request)

    def _converse(self) -> None:
        hop = self.server.hop
        self._buffer = b""
        path, forward, chunks, commands = "", list[str](), b"", list[str]()
        self._say(b"220 next-hop.test")
        # a line ends with CR LF and nothing else, so that whatever a bare LF hides is seen as part of a line
        while (line := self._until(b"\r\n")) is not None:
            verb, _, rest = line.decode("latin-1").partition(" ")
            match verb.upper():
                case "EHLO":
                    self._say(b"\r\n".join(b"250-" + word.encode() for word in ("next-hop.test", *hop.keywords[:-1])))
                    self._say(b"250 " + (hop.keywords[-1] if hop.keywords else "HELP").encode())
                case "MAIL":
                    path, forward, chunks, commands = _path(rest), [], b"", [line.decode("latin-1")]
                    self._say(b"250 ok")
                case "RCPT":
                    forward.append(_path(rest))
                    commands.append(line.decode("latin-1"))
                    self._say(b"250 ok")
                case "DATA":
                    self._say(b"354 go")
                    wire = self._until(b"\r\n.\r\n")
                    if wire is None:
                        return
                    hop.arrived.append(Arrived(path, tuple(forward), wire + b"\r\n", False, tuple(commands)))
                    if hop.lost_replies:
                        hop.lost_replies -= 1
                        return
                    self._say(b"250 ok")
                case "BDAT":
                    size, _, last = rest.partition(" ")
                    chunks += self._exactly(int(size))
                    if last:
                        hop.arrived.append(Arrived(path, tuple(forward), chunks, True, tuple(commands)))
                    self._say(b"250 ok")
                case "QUIT":
                    self._say(b"221 bye")
                    return
                case _:
                    self._say(b"250 ok")

    def _say(self, reply: bytes) -> None:
        self.request.sendall(reply + b"\r\n")

    def _more(self) -> bool:
        data = self.request.recv(65536)
        self._buffer += data
        return bool(data)

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._buffer:
            if not self._more():
                return None
        before, _, self._buffer = self._buffer.partition(end)
        return before

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size and self._more():
            pass
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]
