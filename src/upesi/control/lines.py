"""Lines between workers: one hands things over to another, which answers each, once, when it has kept it.

    keeper -> giver    number                      at the beginning: which language it speaks; nothing is offered before
    giver  -> keeper   [[number, octets], ...]     what was offered in one turn of the loop is one frame
    keeper -> giver    [[number, answer], ...]     so is what was answered
    keeper -> giver    []                          nothing more, please: the giver hangs up behind the last answer

A frame is its length in 4 octets, big-endian, and msgpack. What the octets and the answers mean is the affair of those who offer and keep.

Nobody waits for a line: an offer is declined at once where there is no line yet, where the other end has as much to answer as it may, or
has answered nothing for a while. Whoever offers does without then.

What was offered and not answered when a line ends may have been kept or not. Once the other process has ended, all its threads with it, its
giver is told LOST: nothing more will be kept. A line that ends alone says nothing of the kind (UNSURE), and one whose descriptor a forked
child still holds does not end at all, so the process itself is watched (pidfd_open(2)).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Final, cast

import msgspec

from upesi.control.paths import bound_socket, socket_address
from upesi.control.server import peer_of

__all__ = ["LOST", "MAX_OFFER", "UNSURE", "Answer", "Keep", "Lines", "remove_lines"]

# Told to the giver where the line ended, never sent: the other process has ended, or it lives and may be keeping what it was given
LOST: Final = -1
UNSURE: Final = -2

# Octets of one offer
MAX_OFFER: Final = 192 * 1024
# What one giver may have unanswered: more would only wait, and twice in memory; a commit takes some hundreds
MAX_OFFERS: Final = 200
MAX_OFFERED: Final = 4_000_000
# Octets of a frame: all that may be unanswered, said in one turn of the loop
_MAX_FRAME: Final = MAX_OFFERED + MAX_OFFER + MAX_OFFERS * 32
# Seconds without an answer, while one is due, after which nothing more is offered: longer than a commit takes on a slow disk
_SILENT: Final = 0.5
# Seconds before a worker that could not be reached is tried again
_AGAIN: Final = 1.0
# Seconds between the end of a line and that of its process, where the one comes of the other: a disk may hold up a thread that long
_DEATH: Final = 5.0
# Seconds for which the answers of a process that has ended are still read
_LAST_WORDS: Final = 0.05
# Seconds that givers have to hang up once they were asked to
_GOODBYE: Final = 4.0
_LENGTH: Final = 4

# told what the keeper answered, LOST or UNSURE
Answer = Callable[[int], None]
# takes octets, and calls the answer once, with a number that is not negative
Keep = Callable[[bytes, Answer], None]

_encode = msgspec.msgpack.Encoder().encode
_decode_offers = msgspec.msgpack.Decoder(list[tuple[int, bytes]]).decode
_decode_answers = msgspec.msgpack.Decoder(int | list[tuple[int, Annotated[int, msgspec.Meta(ge=0)]]]).decode


def remove_lines(folder: str, name: str = "") -> None:
    """Remove the socket of the worker `name`, or all of them, from `folder`: a worker that was killed leaves its own behind.

    Only for who holds the lock on the folder, while no such worker lives.
    """
    # the second: its name while it is being made
    for pattern in (f"line.{name or '*'}", f"line.{name or '*'}.*"):
        for path in Path(folder).glob(pattern):
            path.unlink(missing_ok=True)


class _End(asyncio.Protocol):
    """What both ends of a line do: frames, and one write for all that is said in one turn of the loop."""

    __slots__ = ("_buffer", "_flushing", "_loop", "_said", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buffer = b""
        self._said: list[tuple[int, bytes | int]] = []
        self._flushing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take note of it."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole; whoever sends what is none is hung up on."""
        if self._buffer:
            data = self._buffer + data
        start = 0
        while len(data) - start >= _LENGTH:
            end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH], "big")
            if end - start > _MAX_FRAME:
                self.hang_up()
                return
            if len(data) < end:
                break
            try:
                self._take(data[start + _LENGTH : end])
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.hang_up()
                return
            start = end
        self._buffer = data[start:]

    def _take(self, body: bytes) -> None:
        raise NotImplementedError

    def _say(self, number: int, what: bytes | int) -> None:
        self._said.append((number, what))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        said, self._said = self._said, []
        self._write(said)

    def _write(self, what: int | list[tuple[int, bytes | int]]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            body = _encode(what)
            self._transport.write(len(body).to_bytes(_LENGTH, "big") + body)

    def hang_up(self) -> None:
        """End the line, behind what was written."""
        if self._transport is not None:
            self._transport.close()


class _Giver(_End):
    """The end that offers. It is open while the other end takes offers, which it understands."""

    __slots__ = ("_ended", "_heard", "_language", "_next", "_offered", "_open", "_pidfd", "_unanswered", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, language: int, ended: Callable[[_Giver], None]) -> None:
        super().__init__(loop)
        self._language = language
        self._ended = ended
        self._open = False
        self._next = 0
        # number -> who is told, and how many octets it was
        self._unanswered: dict[int, tuple[Answer, int]] = {}
        self._offered = 0
        # when the other end last answered, or had nothing to answer
        self._heard = 0.0
        # the process at the other end, as long as it lives
        self._pidfd = -1
        # for its end, where the line's came first
        self._waiting: asyncio.TimerHandle | None = None

    def watch(self, pid: int) -> None:
        """Take note when the process `pid`, which is at the other end, ends; raise OSError where it has."""
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._died)

    def _died(self) -> None:
        self._forget_process()
        if self._waiting is not None:
            self._waiting.cancel()
            self._tell_all(LOST)
        elif self._transport is not None:
            self._loop.call_later(_LAST_WORDS, self._transport.abort)

    def _forget_process(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def offer(self, data: bytes, answer: Answer) -> bool:
        """Hand `data` over; return False where it cannot be now."""
        if not self._open or len(self._unanswered) >= MAX_OFFERS or self._offered >= MAX_OFFERED:
            return False
        now = self._loop.time()
        if not self._unanswered:
            self._heard = now
        elif now - self._heard > _SILENT:
            return False
        self._next += 1
        self._unanswered[self._next] = (answer, len(data))
        self._offered += len(data)
        self._say(self._next, data)
        return True

    def _take(self, body: bytes) -> None:
        answers = _decode_answers(body)
        if isinstance(answers, int):
            self._open = answers == self._language
            return
        if not answers:
            self._open = False
        self._heard = self._loop.time()
        for number, what in answers:
            answer, size = self._unanswered.pop(number, (None, 0))
            self._offered -= size
            if answer is not None:
                self._tell(answer, what)
        if not self._open and not self._unanswered:
            self.hang_up()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell those who wait what became of theirs, when that is known."""
        self._open = False
        self._ended(self)
        if self._unanswered and self._pidfd >= 0:
            self._waiting = self._loop.call_later(_DEATH, self._unsure)
        else:
            self._forget_process()
            self._tell_all(LOST)

    def _unsure(self) -> None:
        self._forget_process()
        self._tell_all(UNSURE)

    def _tell_all(self, what: int) -> None:
        waiting, self._unanswered = self._unanswered, {}
        for answer, _ in waiting.values():
            self._tell(answer, what)

    def _tell(self, answer: Answer, what: int) -> None:
        """Tell one: its mistake keeps no news from the others, and ends no line."""
        try:
            answer(what)
        except Exception as error:
            self._loop.call_exception_handler({"message": "an answer could not be taken", "exception": error})


class _Keeper(_End):
    """The end that answers."""

    __slots__ = ("_ended", "_keep", "_language", "_leaving")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, language: int, keep: Keep, ended: Callable[[_Keeper], None]
    ) -> None:
        super().__init__(loop)
        self._language = language
        self._keep = keep
        self._ended = ended
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say which language we speak."""
        super().connection_made(transport)
        self._write(self._language)
        if self._leaving:
            self._write([])

    def _take(self, body: bytes) -> None:
        for number, data in _decode_offers(body):
            self._keep(data, self._answer(number))

    def _answer(self, number: int) -> Answer:
        return lambda answer: self._say(number, answer)

    def say_goodbye(self) -> None:
        """Ask for nothing more."""
        self._leaving = True
        self._write([])

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of it; what is kept stays kept."""
        self._ended(self)


class Lines:
    """This worker's lines: those on which it offers, by the name of the other, and its socket `line.NAME` in `folder`, where others offer.

    `language` is a number for what octets and answers mean: nothing is offered to who says another one, since workers of two versions live
    side by side during a reload. Only our user can enter the folder or connect.
    """

    __slots__ = (
        "_again",
        "_connecting",
        "_deserted",
        "_folder",
        "_givers",
        "_keep",
        "_keepers",
        "_language",
        "_loop",
        "_path",
        "_server",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: str, name: str, language: int, keep: Keep) -> None:
        self._loop = loop
        self._folder = folder
        self._language = language
        self._keep = keep
        self._path = self._file(name)
        self._server: asyncio.AbstractServer | None = None
        self._keepers: set[_Keeper] = set()
        # set while nobody offers here
        self._deserted = asyncio.Event()
        self._givers: dict[str, _Giver] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        # who could not be reached -> when it is tried again
        self._again: dict[str, float] = {}

    async def start(self) -> None:
        """Listen; raise OSError."""
        self._server = await self._loop.create_unix_server(self._kept_by_us, sock=bound_socket(self._path))

    def meet(self, workers: Iterable[str]) -> None:
        """Make lines to those of `workers` to whom there is none."""
        for worker in workers:
            self._connect(worker)

    def offer(self, worker: str, data: bytes, answer: Answer) -> bool:
        """Hand `data` over to `worker`, and have `answer` called once, later; return False, at once, where it does not go now."""
        giver = self._givers.get(worker)
        if giver is None:
            self._connect(worker)
            return False
        return len(data) <= MAX_OFFER and giver.offer(data, answer)

    def say_goodbye(self) -> None:
        """Ask others to hand nothing more over; they hang up when all they gave is answered."""
        for keeper in tuple(self._keepers):
            keeper.say_goodbye()

    async def close(self) -> None:
        """Let others hang up, for a while, then end all lines."""
        if self._server is not None:
            self._server.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
        self.say_goodbye()
        if self._keepers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._deserted.wait(), _GOODBYE)
        for task in tuple(self._connecting.values()):
            task.cancel()
        for end in (*self._keepers, *self._givers.values()):
            end.hang_up()

    def _file(self, name: str) -> str:
        return os.path.join(self._folder, f"line.{name}")

    def _kept_by_us(self) -> _Keeper:
        keeper = _Keeper(self._loop, self._language, self._keep, self._ended)
        self._keepers.add(keeper)
        self._deserted.clear()
        return keeper

    def _ended(self, keeper: _Keeper) -> None:
        self._keepers.discard(keeper)
        if not self._keepers:
            self._deserted.set()

    def _connect(self, worker: str) -> None:
        now = self._loop.time()
        if worker in self._givers or worker in self._connecting or now < self._again.get(worker, 0.0):
            return
        # of workers that have gone nobody speaks any more
        self._again = {name: at for name, at in self._again.items() if at > now}
        self._again[worker] = now + _AGAIN
        task = self._connecting[worker] = self._loop.create_task(self._connected(worker))
        task.add_done_callback(lambda _: self._connecting.pop(worker, None))

    async def _connected(self, worker: str) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            with socket_address(self._file(worker)) as address:
                sock.connect(address)
        except OSError:
            # not there yet, gone, or so busy that its backlog is full
            sock.close()
            return

        def ended(giver: _Giver) -> None:
            if self._givers.get(worker) is giver:
                del self._givers[worker]

        giver = _Giver(self._loop, self._language, ended)
        try:
            transport, _ = await self._loop.create_unix_connection(lambda: giver, sock=sock)
        except OSError:
            sock.close()
            return
        try:
            giver.watch(peer_of(transport).pid)
        except OSError:
            # it has ended meanwhile
            transport.abort()
            return
        if not transport.is_closing():
            self._givers[worker] = giver
