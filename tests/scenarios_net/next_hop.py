"""A next hop that reads strictly and keeps the octets: what came over the wire in DATA, dots and all, or in BDAT chunks."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import time
from dataclasses import dataclass
from functools import cached_property

__all__ = ["Arrived", "NextHop"]

_ID = re.compile(rb"\AReceived: [^\r\n]*(?:\r\n[ \t][^\r\n]*)*?\sid ([0-9a-f]+)\b")


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

    @cached_property
    def id(self) -> str:
        """The id in the trace field on top, "" where there is none."""
        match = _ID.match(self.wire)
        return match[1].decode() if match else ""


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

    def wait_for(self, count: int, patience: float = 60.0) -> list[Arrived]:
        """Return what has arrived once there are `count`; fail after `patience` seconds. For hops that one test has to itself."""
        end = time.monotonic() + patience
        while len(self.arrived) < count:
            assert time.monotonic() < end, f"{len(self.arrived)} of {count} messages have arrived: {self.arrived}"
            time.sleep(0.005)
        return list(self.arrived)

    def got(self, id: str, count: int = 1, patience: float = 60.0) -> list[Arrived]:
        """Return each arrival of the message that the server queued under `id` once there are `count`.

        Messages overtake each other, and those of earlier tests may still come: a place in the order of arrival says nothing.
        """
        assert id
        end = time.monotonic() + patience
        while len(found := [each for each in reversed(list(self.arrived)) if each.id == id]) < count:
            assert time.monotonic() < end, f"message {id} has arrived {len(found)} times and not {count}"
            time.sleep(0.005)
        return found

    def notice(self, id: str, patience: float = 60.0) -> Arrived:
        """Return the notice to the sender of the message that was queued under `id`, whose header it returns."""
        end = time.monotonic() + patience
        while True:
            for each in reversed(list(self.arrived)):
                if not each.reverse_path and f" id {id}".encode() in each.content:
                    return each
            assert time.monotonic() < end, f"no notice about {id} has arrived"
            time.sleep(0.005)

    def names(self) -> set[str]:
        """Return every address that ever stood in a transaction."""
        return {path for each in list(self.arrived) for path in (each.reverse_path, *each.forward_paths)}


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
                    message = Arrived(path, tuple(forward), wire + b"\r\n", False, tuple(commands))
                    if not self._taken(message):
                        return
                case "BDAT":
                    size, _, last = rest.partition(" ")
                    chunks += self._exactly(int(size))
                    if not last:
                        self._say(b"250 ok")
                    elif not self._taken(Arrived(path, tuple(forward), chunks, True, tuple(commands))):
                        return
                case "QUIT":
                    self._say(b"221 bye")
                    return
                case _:
                    self._say(b"250 ok")

    def _taken(self, message: Arrived) -> bool:
        """Answer the end of a message, and keep it; say whether it was answered."""
        hop = self.server.hop
        # the reply first: whoever sees the message may close this connection (`offer`), and the sender would send it again
        try:
            if hop.lost_replies:
                hop.lost_replies -= 1
                return False
            self._say(b"250 ok")
        finally:
            hop.arrived.append(message)
        return True

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
