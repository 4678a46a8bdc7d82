"""Handing a message over to the worker that owns its queue, before it is in the spool (docs/adr/0006-handover.md).

    taken in here -> the owner's line -> written with the owner's own mail, durable -> its word -> 250

Whoever takes a message in and whoever owns its site are often two workers. Written here, it was claimed, read and decoded there: one more
transaction, one more journey to a reading thread, and two small groups where one large one does.

What the owner does not take (not the owner any more, about to go, too much already) is written here, as if there were no lines. Of what was
given and not answered when an owner died, the spool knows whether it is there.

Work is exchanged and not shed: under load a worker gives about as much as it is given. Where the sites are spread over the workers that is
nearly all. Where one site gets all the mail, its owner is the busiest as it is, and would have to write what its idler neighbours can.
Beside a slow disk it is given all: its receivers may know that they have the mail before any disk does (`cut_through`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Final
from zlib import crc32

import msgspec

from upesi.control.lines import LOST, MAX_OFFER, UNSURE, Lines
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Transmission
from upesi.mail.ids import MessageId
from upesi.spool.records import NewDelivery, NewMessage, SpoolEvent

__all__ = ["Handover", "Keep", "Told", "Word", "language_of"]

# Octets of a body that goes by line; the rest of an offer is for envelope, trace and notes
_MOST_BODY: Final = MAX_OFFER - 64 * 1024
# Seconds for which an owner is given nothing after it had no use for a message at once: it would wait in the spool either way
_REST: Final = 0.5
# Seconds for which an owner is given all there is after its receivers were quicker than its disk: whoever writes such mail waits longer
_EAGER: Final = 1.0
# Messages that a worker may give beyond what it is given: so many at once, and in a second. With eight sites all are given, and 8 % more
# relayed, by turns; with one site, when all were given, 8 to 10 % less
_AHEAD: Final = 100
_RATE: Final = 100.0


class Word(IntEnum):
    """What the owner says of a message; the first two are nobody's word."""

    # it lives, and may have written it or not
    UNSURE = UNSURE
    # it has ended: what is in the spool is there, and nothing more comes
    LOST = LOST
    # durable, and on its way
    KEPT = 0
    # durable, and waits in the spool
    WAITS = 1
    # neither taken nor written
    DECLINED = 2
    # not written: no room
    FULL = 3
    # not written for another reason
    FAILED = 4
    # taken by all its receivers, and not durable yet: the disk is slow (runtime/cut_through.py)
    TAKEN = 5


# whoever is told one of these answers 250
ACCEPTED: Final = frozenset((Word.KEPT, Word.WAITS, Word.TAKEN))


class _Given(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `NewMessage` whose body is in memory, on its way."""

    id: bytes
    received: float
    reverse_path: Address | None
    transmission: Transmission
    prefix: bytes
    body: bytes
    text: bool
    deliveries: tuple[NewDelivery, ...]
    origin: dict[str, str]
    notes: dict[str, bytes]
    events: tuple[SpoolEvent, ...]


def language_of(kind: type, words: type[IntEnum]) -> int:
    """Return a number that is another one where any field of `kind`, or of anything within it, is another one, or any of `words`."""
    said = [(word.name, word.value) for word in words]
    return crc32(msgspec.json.encode((msgspec.json.schema(kind), said), order="sorted"))


def _given(message: NewMessage, body: MemoryBody) -> _Given:
    return _Given(
        message.id, message.received, message.reverse_path, message.transmission, message.prefix, body.data, body.text,
        message.deliveries, message.origin, message.notes, message.events,
    )  # fmt: skip


def _message(given: _Given) -> NewMessage:
    return NewMessage(
        MessageId(given.id), given.received, given.reverse_path, given.transmission, given.prefix,
        MemoryBody(given.body, text=given.text), given.deliveries, given.origin, given.notes, given.events,
    )  # fmt: skip


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Given).decode
# wrong types, integers beyond 64 bits, text that is no Unicode
_ENCODING: Final = (TypeError, ValueError, OverflowError, msgspec.MsgspecError)
# Whoever has other fields, here or in anything within, has another number: msgpack alone would read over what it does not know
_LANGUAGE: Final = language_of(_Given, Word)

Told = Callable[[Word], None]
# takes a message that was handed over, and says a word, once
Keep = Callable[[NewMessage, Told], None]


class Handover:
    """Both sides of it for one worker, `name` among the others that share `folder`."""

    __slots__ = ("_ahead", "_at", "_closed", "_eager", "_keep", "_lines", "_loop", "_rests", "given")

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: str, name: str, keep: Keep) -> None:
        self._loop = loop
        self._keep = keep
        self._lines = Lines(loop, folder, name, _LANGUAGE, self._received)
        # owner -> until when it is given nothing
        self._rests: dict[str, float] = {}
        # owner -> until when it is given all there is
        self._eager: dict[str, float] = {}
        self._closed = False
        # messages that we gave beyond those we were given, as of the time `_at`; what is between is forgotten at `_RATE`
        self._ahead = 0.0
        self._at = loop.time()
        # messages that an owner has written for us, for ever
        self.given = 0

    async def start(self) -> None:
        """Be there for others; raise OSError."""
        await self._lines.start()

    def meet(self, workers: Iterable[str]) -> None:
        """Get to know those who own something; what is remembered of others goes."""
        known = frozenset(workers)
        self._rests = {owner: until for owner, until in self._rests.items() if owner in known}
        self._eager = {owner: until for owner, until in self._eager.items() if owner in known}
        self._lines.meet(known)

    def give(self, owner: str, message: NewMessage, told: Told) -> bool:
        """Hand `message` over to `owner`, and have `told` called later, once; return False, at once, where it does not go now."""
        body = message.body
        if type(body) is not MemoryBody or body.size > _MOST_BODY or self._rests_now(owner):
            return False
        freely = self._loop.time() < self._eager.get(owner, 0.0)
        if not freely and self._is_ahead():
            return False

        def answered(answer: int) -> None:
            word = Word(answer)
            if word in ACCEPTED:
                self.given += 1
            if word is Word.TAKEN:
                self._eager[owner] = self._loop.time() + _EAGER
            if word is Word.WAITS or word is Word.DECLINED:
                self._rests[owner] = self._loop.time() + _REST
            told(word)

        try:
            octets = _encode(_given(message, body))
        except _ENCODING:
            # whoever writes it says what is wrong with it
            return False
        if not self._lines.offer(owner, octets, answered):
            return False
        if not freely:
            self._ahead += 1
        return True

    def _is_ahead(self) -> bool:
        now = self._loop.time()
        forgotten = _RATE * (now - self._at)
        self._at = now
        # towards nought from both sides: neither a debt nor a credit is for ever
        self._ahead = max(0.0, self._ahead - forgotten) if self._ahead > 0 else min(0.0, self._ahead + forgotten)
        return self._ahead + 1 > _AHEAD

    def _rests_now(self, owner: str) -> bool:
        until = self._rests.get(owner)
        if until is None:
            return False
        if self._loop.time() < until:
            return True
        del self._rests[owner]
        return False

    def _received(self, data: bytes, answer: Callable[[int], None]) -> None:
        self._ahead = max(-float(_AHEAD), self._ahead - 1)
        if self._closed:
            answer(Word.DECLINED)
            return
        try:
            self._keep(_message(_decode(data)), answer)
        except Exception as error:
            # a mistake of ours must not end the line: what else came by it is being written, and would be taken for lost
            self._loop.call_exception_handler({"message": "a message could not be taken over", "exception": error})
            answer(Word.FAILED)

    def leave(self) -> None:
        """Take nothing more."""
        self._closed = True
        self._lines.say_goodbye()

    async def close(self) -> None:
        """Let go of everything, behind the last word: the store must still be there."""
        self._closed = True
        await self._lines.close()
