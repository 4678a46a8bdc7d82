"""A scenario's endpoint that is a real server: the dialogue goes over a socket, and the messages come out at the next hop."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

from integration.messages import without_trace
from scenarios_net.next_hop import NextHop

__all__ = ["SocketEndpoint"]


class SocketEndpoint:
    """One connection. With `octets` each octet is a segment of its own."""

    def __init__(self, address: tuple[str, int], hop: NextHop, *, octets: bool = False) -> None:
        self._socket = socket.create_connection(address, timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")
        self._hop = hop
        self._octets = octets
        # the message that our first accepted one becomes
        self._next = len(hop.arrived)
        self._accepted: set[str] = set()
        self._taken = 0

    @property
    def accepted(self) -> int:
        """How many messages were taken."""
        return len(self._accepted)

    def __enter__(self) -> SocketEndpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Write octets."""
        for segment in self._segments(octets):
            try:
                self._socket.sendall(segment)
            except OSError:
                return  # sent away; what it said is still to be read
            if self._octets:
                # long enough for the server to read it before the next comes
                time.sleep(0.00005)

    def _segments(self, octets: bytes) -> Iterator[bytes]:
        # what is long is so for its own sake; there the cuts tell nothing
        if not self._octets or len(octets) > 4000:
            yield octets
        else:
            yield from (octets[at : at + 1] for at in range(len(octets)))

    def reply(self) -> str | None:
        """Return the next reply; None at the end."""
        lines = []
        while line := self._lines.readline():
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                # over LMTP several replies name one message
                if b"queued as " in line:
                    self._accepted.add(lines[-1].rpartition(" ")[2])
                return " | ".join(lines)
        assert not lines, f"a reply that is not whole: {lines}"
        return None

    def say(self, line: bytes | str) -> str:
        """Send a command and return its reply; it must have one."""
        self.send((line.encode() if isinstance(line, str) else line) + b"\r\n")
        reply = self.reply()
        assert reply is not None, line
        return reply

    def message(self) -> bytes | None:
        """Return what the next hop got of the next message that was accepted, None if all are there."""
        if self._taken == len(self._accepted):
            return None
        self._taken += 1
        self._next += 1
        return without_trace(self._hop.wait_for(self._next)[self._next - 1].content)

    def end(self) -> None:
        """Close our side; the server has still to answer what it was sent."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def leave(self, *, reset: bool = False) -> None:
        """Close without a word, with `reset` so that the server's kernel hears RST and not FIN."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.__exit__()

    def closed(self) -> bool:
        """Whether the server has closed, and said nothing more."""
        return self._lines.read(1) == b""
