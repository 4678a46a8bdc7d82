"""A connection on which both ends may ask and tell: the supervisor and each of its workers, the supervisor and the command line.

Requests have deadlines and are answered in any order; notices are fire and forget. What one end does not read is bounded: then notices
are dropped and counted, requests fail, and nobody's memory grows.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TypeVar, cast

import msgspec

from upesi.control.errors import ChannelClosed, RequestFailed, RequestTimeout
from upesi.control.frames import MAX_FRAME, Frame, FrameError, FrameReader, Kind, encode_frame
from upesi.mail.errors import UpesiError

__all__ = ["Call", "Channel", "ChannelClosed", "Handler", "Peer", "RequestFailed", "RequestTimeout", "Watcher"]

T = TypeVar("T")

# what may wait to be read by the other end before it is taken for stuck
_MAX_UNREAD = MAX_FRAME
# of the name of a request, in what is said of it: the other end chose it, and it may be as long as a frame
_MAX_NAME = 200
# requests of one other end that are being answered at once
_MAX_RUNNING = 64


class Peer(msgspec.Struct, frozen=True, gc=False):
    """Who is at the other end, as the kernel says (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class Call(msgspec.Struct, frozen=True):
    """One request or notice. `peer` is None on an inherited channel."""

    name: str
    arguments: object = None
    peer: Peer | None = None

    def arguments_as(self, kind: type[T]) -> T:
        """Return the arguments as a `kind`; raise RequestFailed where they are not of its shape."""
        try:
            return msgspec.convert(self.arguments if self.arguments is not None else {}, kind)
        except msgspec.ValidationError as error:
            raise RequestFailed(f"{self.name}: {error}") from None


# The result is plain values (or a msgspec.Struct); an asynchronous iterator is sent piece by piece
Handler = Callable[[Call], object]
# told of what a handler raised that is not an UpesiError
Watcher = Callable[[str, BaseException], None]


class Channel(asyncio.Protocol):
    """One end. Made by `Channel.open` or by the control server."""

    __slots__ = (
        "_admit", "_closed", "_failed", "_handlers", "_ids", "_paused", "_reader", "_resume", "_running", "_transport", "_waiting",
        "dropped", "peer",
    )  # fmt: skip

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        *,
        failed: Watcher,
        closed: Callable[[Channel], None],
        admit: Callable[[asyncio.BaseTransport], Peer | None] | None = None,
    ) -> None:
        """Answer requests by `handlers`; `closed` is called once, when the connection ends.

        `admit` says who is there, and raises PermissionError for those who may not speak.
        """
        self._handlers = handlers
        self._failed = failed
        self._closed = closed
        self._admit = admit
        self._reader = FrameReader()
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[object]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None
        self._resume: asyncio.Event | None = None
        self.peer: Peer | None = None
        # notices that were not sent because the other end does not read
        self.dropped = 0

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        handlers: Mapping[str, Handler],
        *,
        failed: Watcher,
        closed: Callable[[Channel], None] = lambda _: None,
    ) -> Channel:
        """Return a channel over one end of a `socket.socketpair()`, which it owns from now on."""
        loop = asyncio.get_running_loop()
        factory = lambda: cls(handlers, failed=failed, closed=closed)  # noqa: E731
        _, channel = await loop.create_unix_connection(factory, sock=sock)
        return channel

    def notify(self, name: str, payload: object = None) -> bool:
        """Tell the other end; return False where it could not be sent. No answer comes."""
        try:
            self._send(Frame(Kind.NOTICE, 0, name, payload))
        except ChannelClosed:
            self.dropped += 1
            return False
        return True

    async def request(self, name: str, arguments: object = None, *, timeout: float) -> object:
        """Ask, and return the result. Raise RequestFailed, RequestTimeout (`timeout` in seconds) or ChannelClosed."""
        id = next(self._ids)
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting[id] = future
        try:
            self._send(Frame(Kind.REQUEST, id, name, arguments))
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise RequestTimeout(f"{name}: no answer in {timeout:g} s") from None
        finally:
            self._waiting.pop(id, None)

    def close(self) -> None:
        """Hang up after what was written; handlers that still run are cancelled."""
        if self._transport is not None:
            self._transport.close()

    @property
    def alive(self) -> bool:
        """Whether the other end is still there, as far as we know."""
        return self._transport is not None and not self._transport.is_closing()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check who is there."""
        self._transport = cast("asyncio.Transport", transport)
        if self._admit is not None:
            try:
                self.peer = self._admit(transport)
            except PermissionError as error:
                self._refuse(str(error))

    def data_received(self, data: bytes) -> None:
        """Take octets; whoever does not speak our version is told so and hung up on."""
        if not self.alive:
            return
        try:
            frames = self._reader.feed(data)
        except FrameError as error:
            self._refuse(str(error))
            return
        for frame in frames:
            self._take(frame)

    def pause_writing(self) -> None:
        """The other end reads slowly: pieces of long answers wait."""
        self._resume = asyncio.Event()

    def resume_writing(self) -> None:
        """The other end has caught up."""
        if self._resume is not None:
            self._resume.set()
            self._resume = None

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what waits for an answer, stop what makes one, and say so."""
        self.resume_writing()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChannelClosed("the other end has gone"))
        for task in self._running:
            task.cancel()
        self._closed(self)

    # -- frames

    def _send(self, frame: Frame) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ChannelClosed("the other end has gone")
        if transport.get_write_buffer_size() > _MAX_UNREAD:
            raise ChannelClosed("the other end does not read")
        transport.write(encode_frame(frame))

    def _refuse(self, text: str) -> None:
        try:
            self._send(Frame(Kind.ERROR, 0, "", text))
        except (ChannelClosed, FrameError):
            pass
        self.close()

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.REQUEST or frame.kind is Kind.NOTICE:
            self._start(frame)
            return
        future = self._waiting.get(frame.id)
        if future is None or future.done():
            return  # its deadline is over
        if frame.kind is Kind.REPLY:
            future.set_result(frame.payload)
        elif frame.kind is Kind.ERROR:
            future.set_exception(RequestFailed(str(frame.payload)))

    def _start(self, frame: Frame) -> None:
        """Call the handler; only what has to wait becomes a task."""
        handler = self._handlers.get(frame.name)
        if handler is None:
            self._finish(frame, Kind.ERROR, f"{frame.name[:_MAX_NAME]} is not known here")
            return
        if len(self._running) >= _MAX_RUNNING:
            self._finish(frame, Kind.ERROR, "too many requests at once")
            return
        try:
            result = handler(Call(frame.name, frame.payload, self.peer))
        except Exception as error:
            self._fail(frame, error)
            return
        if inspect.isawaitable(result) or isinstance(result, AsyncIterator):
            task = asyncio.ensure_future(self._run(frame, result))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        else:
            self._finish(frame, Kind.REPLY, result)

    async def _run(self, frame: Frame, result: Awaitable[object] | AsyncIterator[object]) -> None:
        try:
            if isinstance(result, AsyncIterator):
                async for part in result:
                    if self._resume is not None:
                        await self._resume.wait()
                    self._finish(frame, Kind.PART, part)
                self._finish(frame, Kind.REPLY, None)
            else:
                self._finish(frame, Kind.REPLY, await result)
        except Exception as error:
            self._fail(frame, error)

    def _fail(self, frame: Frame, error: Exception) -> None:
        if isinstance(error, UpesiError):
            # the other end is ourselves or root: it may read why
            self._finish(frame, Kind.ERROR, str(error))
            return
        self._failed(frame.name, error)
        self._finish(frame, Kind.ERROR, f"{frame.name} failed: {type(error).__name__}; the server's log says why")

    def _finish(self, frame: Frame, kind: Kind, payload: object) -> None:
        """Answer; raises nothing: an answer that cannot be sent becomes an error that can."""
        if frame.kind is Kind.NOTICE:
            return
        name = frame.name[:_MAX_NAME]
        try:
            try:
                self._send(Frame(kind, frame.id, name, payload))
            except FrameError as error:
                self._send(Frame(Kind.ERROR, frame.id, name, str(error)))
        except (ChannelClosed, FrameError):
            pass  # nobody is there to hear it
