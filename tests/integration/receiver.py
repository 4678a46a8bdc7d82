"""A next hop that remembers: every message octet for octet, how many connections were open at once, and what it was told to answer."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from integration.server import PATIENCE

__all__ = ["Received", "Receiver"]


@dataclass(frozen=True)
class Received:
    """One message as it came over the wire, dots unstuffed."""

    reverse_path: str
    forward_paths: tuple[str, ...]
    data: bytes


@dataclass
class _Transaction:
    reverse_path: str = ""
    forward_paths: list[str] = field(default_factory=list)


class Receiver:
    """An SMTP server in threads on a port of the kernel's choice. A context manager.

    `on_rcpt` gives the reply to a forward-path; `pause` is how long it thinks before it answers the final dot.
    """

    def __init__(self, port: int = 0, pause: float = 0.0) -> None:
        self.on_rcpt: Callable[[str], bytes] = lambda path: b"250 2.1.5 ok"
        self.pause = pause
        self.messages: list[Received] = []
        self.most_connections = 0
        self.opened_in_all = 0
        self._connections = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", port), _Session)
        self._server.receiver = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def opened(self, change: int) -> None:
        """Count a connection in or out."""
        with self._lock:
            self._connections += change
            self.opened_in_all += change > 0
            self.most_connections = max(self.most_connections, self._connections)

    def take(self, message: Received) -> None:
        """Keep a message."""
        with self._lock:
            self.messages.append(message)

    def wait_for(self, count: int, patience: float = PATIENCE) -> list[Received]:
        """Return the messages once there are `count`; fail, saying how many there were, after `patience` seconds, or PATIENCE if more."""
        patience = max(patience, PATIENCE)
        end = time.monotonic() + patience
        while len(self.messages) < count:
            if time.monotonic() > end:
                raise AssertionError(f"the next hop has {len(self.messages)} of {count} messages after {patience:g} s")
            time.sleep(0.01)
        return list(self.messages)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    receiver: Receiver

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: senders that are killed in these tests reset their connections."""


class _Session(socketserver.StreamRequestHandler):
    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.server.receiver.opened(1)
        try:
            self._converse()
        finally:
            self.server.receiver.opened(-1)

    def _converse(self) -> None:
        transaction = _Transaction()
        self._say(b"220 next-hop.test ESMTP")
        while line := self.rfile.readline():
            verb, _, rest = line.strip().decode().partition(" ")
            match verb.upper():
                case "EHLO" | "HELO":
                    self._say(b"250-next-hop.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250 8BITMIME")
                case "MAIL":
                    transaction = _Transaction(_path(rest))
                    self._say(b"250 2.1.0 ok")
                case "RCPT":
                    self._recipient(transaction, _path(rest))
                case "DATA" if transaction.forward_paths:
                    self._data(transaction)
                    transaction = _Transaction()
                case "DATA":
                    self._say(b"554 5.5.1 no valid recipients")
                case "RSET" | "NOOP":
                    transaction = _Transaction()
                    self._say(b"250 2.0.0 ok")
                case "QUIT":
                    self._say(b"221 2.0.0 bye")
                    return
                case _:
                    self._say(b"502 5.5.2 not here")

    def _say(self, reply: bytes) -> None:
        self.wfile.write(reply + b"\r\n")

    def _recipient(self, transaction: _Transaction, path: str) -> None:
        reply = self.server.receiver.on_rcpt(path)
        if reply.startswith(b"2"):
            transaction.forward_paths.append(path)
        self._say(reply)

    def _data(self, transaction: _Transaction) -> None:
        self._say(b"354 go")
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                return
            lines.append(line[1:] if line.startswith(b".") else line)
        receiver = self.server.receiver
        time.sleep(receiver.pause)
        receiver.take(Received(transaction.reverse_path, tuple(transaction.forward_paths), b"".join(lines)))
        self._say(b"250 2.0.0 taken")


def _path(argument: str) -> str:
    return argument.partition("<")[2].partition(">")[0]
