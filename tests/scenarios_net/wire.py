"""A scenario's endpoint that is a real server: the dialogue goes over a socket, and the messages come out at the next hop."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator

from integration.messages import without_trace
from integration.server import PATIENCE
from scenarios_net.next_hop import Arrived, NextHop
from scenarios_net.world import PASSWORD, USER

__all__ = ["SocketEndpoint"]

# what stands for the greeting where the real one was used up on the way in
_GREETING = "220 ready"
# outside of the relay networks of `world`
_PROXY = b"PROXY TCP4 203.0.113.99 127.0.0.1 40000 25\r\n"
# RFC 6409 section 8: a submission server adds what is missing
_ADDED = re.compile(rb"\A(?:(?:Date|From|Message-ID): [^\r\n]*\r\n)*")
_TRICKLE = 0.00005


class _Client:
    """A connection that is led by hand to where a dialogue can begin."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket: socket.socket = socket.create_connection(address, timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self) -> None:
        """Begin TLS; the certificate is one that nobody vouches for."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname="test.example")

    def hear(self, code: bytes) -> None:
        """Read a reply, which must have this code."""
        line = b" " * 3 + b"-"
        while line[3:4] == b"-":
            line = b""
            while not line.endswith(b"\n"):
                octet = self.socket.recv(1)
                assert octet, "the server hung up"
                line += octet
        assert line.startswith(code), line

    def say(self, line: bytes, code: bytes) -> None:
        """Send a command, which must get this code."""
        self.socket.sendall(line + b"\r\n")
        self.hear(code)

    def enter(self, kind: str) -> str | None:
        """Do what comes before mail on a listener of this kind; return what stands for the greeting, if that has been used up."""
        if kind == "implicit":
            self.secure()
        elif kind == "proxy":
            self.socket.sendall(_PROXY)
        elif kind in ("starttls", "submission"):
            self.hear(b"220")
            self.say(b"EHLO client.example", b"250")
            self.say(b"STARTTLS", b"220")
            self.secure()
            if kind == "submission":
                self.say(b"EHLO client.example", b"250")
                secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
                self.say(b"AUTH PLAIN " + secret, b"235")
            return _GREETING
        return None


class SocketEndpoint:
    """One connection, to a listener of a `kind` (`world.KINDS`). With `octets` each octet is a segment of its own."""

    def __init__(self, address: tuple[str, int], hop: NextHop, *, octets: bool = False, kind: str = "smtp") -> None:
        client = _Client(address)
        self._greeting = client.enter(kind)
        self._kind = kind
        self._socket = client.socket
        self._lines = self._socket.makefile("rb")
        self._hop = hop
        self._octets = octets
        # the ids of what was accepted, in the order of the replies
        self._accepted: dict[str, None] = {}
        self._taken = 0
        self._ended = False

    @property
    def accepted(self) -> list[str]:
        """The ids of the messages that were taken."""
        return [*self._accepted]

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
                time.sleep(_TRICKLE)

    def _segments(self, octets: bytes) -> Iterator[bytes]:
        # what is long is so for its own sake; there the cuts tell nothing
        if not self._octets or len(octets) > 4000:
            yield octets
        else:
            yield from (octets[at : at + 1] for at in range(len(octets)))

    def reply(self) -> str | None:
        """Return the next reply; None at the end."""
        if self._greeting is not None:
            greeting, self._greeting = self._greeting, None
            return greeting
        lines = []
        while line := self._line():
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode())
            if line[3:4] != b"-":
                # over LMTP several replies name one message
                if b"queued as " in line:
                    self._accepted[lines[-1].rpartition(" ")[2]] = None
                return " | ".join(lines)
        assert not lines, f"a reply that is not whole: {lines}"
        return None

    def _line(self) -> bytes:
        try:
            return self._lines.readline()
        except ConnectionResetError:
            # our farewell came to one who had left
            assert self._ended
            return b""

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
        content = without_trace(self._hop.got([*self._accepted][self._taken])[0].content)
        self._taken += 1
        return _ADDED.sub(b"", content) if self._kind == "submission" else content

    def arrived(self) -> Arrived:
        """Return what the next hop got of the only message that was accepted."""
        (id,) = self._accepted
        return self._hop.got(id)[0]

    def end(self) -> None:
        """Close our side; the server has still to answer what it was sent."""
        self._ended = True
        try:
            if isinstance(self._socket, ssl.SSLSocket):
                # a TLS client says that it is done, and reads on
                self._socket.unwrap().shutdown(socket.SHUT_WR)
            else:
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
