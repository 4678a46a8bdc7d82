"""The command line's end of the control socket: plain blocking calls, no event loop."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from upesi.control.errors import RequestFailed, RequestTimeout, ServerDown
from upesi.control.frames import Frame, FrameError, FrameReader, Kind, encode_frame
from upesi.control.paths import socket_address

__all__ = ["ControlClient"]

_RECEIVE = 65536


class ControlClient:
    """A connection to the server's control socket; use it in a `with` statement."""

    __slots__ = ("_frames", "_ids", "_reader", "_sock", "_timeout")

    def __init__(self, path: str, *, timeout: float = 30.0) -> None:
        """Connect; raise ServerDown where nobody listens, PermissionError where we may not. `timeout` is for each answer, seconds."""
        self._timeout = timeout
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        self._ids = itertools.count(1)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(min(timeout, 5.0))
        try:
            with socket_address(path) as address:
                self._sock.connect(address)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            self._sock.close()
            raise ServerDown(f"no server answers at {path}") from None
        except TimeoutError:
            self._sock.close()
            raise RequestTimeout(f"the server at {path} does not take connections") from None
        except OSError:
            self._sock.close()
            raise

    def request(self, name: str, arguments: object = None) -> object:
        """Ask, and return the result; raise RequestFailed, RequestTimeout, ServerDown (it went away) or FrameError (another version)."""
        result: object = None
        for frame in self._exchange(name, arguments):
            result = frame.payload
        return result

    def stream(self, name: str, arguments: object = None) -> Iterator[object]:
        """Ask, and yield the pieces of the answer as they come; raises like `request`."""
        for frame in self._exchange(name, arguments):
            if frame.kind is Kind.PART:
                yield frame.payload

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, name: str, arguments: object) -> Iterator[Frame]:
        """Send the request and yield its PARTs and its REPLY."""
        id = next(self._ids)
        self._send(encode_frame(Frame(Kind.REQUEST, id, name, arguments)), name)
        while True:
            frame = self._next(name)
            # id 0 is for the connection as a whole: not our version, not allowed
            if frame.kind is Kind.ERROR and frame.id in (id, 0):
                raise RequestFailed(str(frame.payload))
            if frame.id != id:
                continue
            yield frame
            if frame.kind is Kind.REPLY:
                return

    def _send(self, data: bytes, name: str) -> None:
        self._sock.settimeout(self._timeout)
        try:
            self._sock.sendall(data)
        except TimeoutError:
            raise RequestTimeout(f"{name}: the server does not read") from None
        except (BrokenPipeError, ConnectionResetError):
            pass  # it hung up on us: why may still be there to read

    def _next(self, name: str) -> Frame:
        deadline = time.monotonic() + self._timeout
        while not self._frames:
            self._sock.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._sock.recv(_RECEIVE)
            except TimeoutError:
                raise RequestTimeout(f"{name}: no answer in {self._timeout:g} s") from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise ServerDown(f"the server ended before it answered {name}")
            try:
                self._frames = self._reader.feed(data)
            except FrameError as error:
                raise FrameError(f"{error}; restart the server after an upgrade") from None
        return self._frames.pop(0)
