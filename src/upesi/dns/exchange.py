"""One question and its deadline: asked of one server after the other until one knows.

A server that has not answered in its share of the time is still listened to while the next one is asked, so shares may be short. A
datagram that is no answer to the question is ignored, not believed and not an error: the true one may follow (RFC 5452 section 9.1).
An answer that was cut short, or that does not repeat our capitals, is asked for again over TCP.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from upesi.dns.codec import (
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    REFUSED,
    SERVFAIL,
    Question,
    Reply,
    answer_from,
    make_query,
    read_reply,
)
from upesi.dns.ports import Attempt
from upesi.dns.servers import Server
from upesi.dns.upstream import Upstream
from upesi.mail.answers import Answer, Security, Status

__all__ = ["Exchange", "Manner"]

# Each server is asked this often, and has these parts of the time that is left: a lost datagram is likelier than a dead server, and a dead
# one should cost little before the next is asked
SHARES = (1, 2)

_BOGUS = Answer(Status.SERVFAIL, security=Security.BOGUS)


class Manner(msgspec.Struct, frozen=True):
    """How all questions of a resolver are asked. `timeout` is in seconds for one question, all tries together."""

    loop: asyncio.AbstractEventLoop
    entropy: Callable[[int], bytes]
    timeout: float
    # repeat names in random capitals, which a forger would have to guess too
    mix_case: bool
    # connections by TCP at once
    tcp: asyncio.Semaphore


class _Arrival(msgspec.Struct, frozen=True, gc=False):
    """What came for an attempt."""

    upstream: Upstream
    attempt: Attempt
    content: bytes | OSError


class Exchange:
    """The asking of one `question`. `upstreams` in the order in which they are to be asked."""

    __slots__ = (
        "_arrived",
        "_attempts",
        "_deadline",
        "_loop",
        "_manner",
        "_question",
        "_unchecked",
        "_upstreams",
        "_waiter",
        "_worst",
    )

    def __init__(self, manner: Manner, upstreams: list[Upstream], question: Question) -> None:
        self._manner = manner
        self._loop = manner.loop
        self._question = question
        self._upstreams = upstreams
        self._deadline = manner.loop.time() + manner.timeout
        # attempts that are listened to, and the question as each was sent
        self._attempts: dict[Attempt, bytes] = {}
        self._arrived: deque[_Arrival] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._unchecked = False
        self._worst = Answer(Status.TIMEOUT)

    async def answer(self) -> Answer:
        """Return what DNS says, within the deadline."""
        try:
            for upstream, until in self._tries():
                if self._ask(upstream):
                    answer = await self._listen(upstream, until)
                    if answer is not None:
                        return answer
            if self._attempts:
                # the last was refused; one that was slow may yet answer
                return await self._listen(None, self._deadline) or self._worst
            return self._worst
        finally:
            for attempt in self._attempts:
                attempt.end()

    def _tries(self) -> Iterator[tuple[Upstream, float]]:
        """Yield whom to ask and until when to wait for that one alone."""
        tries = [(share, upstream) for share in SHARES for upstream in self._upstreams]
        left = sum(share for share, _ in tries)
        for share, upstream in tries:
            now = self._loop.time()
            if now >= self._deadline:
                return
            yield upstream, now + (self._deadline - now) * share / left
            left -= share

    def _ask(self, upstream: Upstream, *, unchecked: bool = False) -> Attempt | None:
        question, plain = self._question.wire, upstream.plain
        if self._manner.mix_case and not upstream.folds_case:
            question = _mixed(question, self._manner.entropy)
        attempt = Attempt(lambda attempt, content: self._put(_Arrival(upstream, attempt, content)))
        upstream.questions += 1
        try:
            upstream.ports.send(
                attempt, lambda id: make_query(self._question, id, question, plain=plain, unchecked=unchecked)
            )
        except OSError:
            self._failed(upstream)
            return None
        self._attempts[attempt] = question
        return attempt

    def _put(self, arrival: _Arrival) -> None:
        self._arrived.append(arrival)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _arrival(self, until: float) -> _Arrival | None:
        """Return the next arrival, None when it is `until`."""
        if not self._arrived:
            self._waiter = self._loop.create_future()
            timer = self._loop.call_at(until, _wake, self._waiter)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self._arrived.popleft() if self._arrived else None

    async def _listen(self, current: Upstream | None, until: float) -> Answer | None:
        """Return the first answer; None when it is time to ask the next server, because `current` is silent or in trouble."""
        while True:
            arrival = await self._arrival(until)
            if arrival is None:
                if current is not None:
                    current.missed()
                return None
            asked = self._attempts.get(arrival.attempt)
            if asked is None:
                continue
            upstream, content = arrival.upstream, arrival.content
            if isinstance(content, OSError):
                self._end(arrival.attempt)
                self._failed(upstream)
            else:
                reply = read_reply(asked, content)
                if reply is None:
                    continue
                self._end(arrival.attempt)
                answer = await self._judged(upstream, reply, asked)
                if answer is not None:
                    return answer
            if upstream is current or not self._attempts:
                return None

    def _end(self, attempt: Attempt) -> None:
        attempt.end()
        self._attempts.pop(attempt, None)

    def _failed(self, upstream: Upstream) -> None:
        upstream.failed()
        self._worst = Answer(Status.SERVFAIL)

    async def _judged(self, upstream: Upstream, reply: Reply, asked: bytes) -> Answer | None:
        """Return what a reply says, None where that is trouble and another server may know."""
        if reply.rcode == REFUSED:
            self._failed(upstream)
            return None
        upstream.heard()
        # without mixed case, a server that changes capitals does no harm
        if reply.truncated or not (reply.exact or asked is self._question.wire):
            whole = await self._by_tcp(upstream, asked)
            if whole is None:
                self._worst = Answer(Status.SERVFAIL)
                return None
            # nobody off the path forges TCP: this server changes capitals
            upstream.folds_case = upstream.folds_case or not whole.exact
            reply = whole
        if reply.rcode in (FORMERR, NOTIMP):
            # RFC 6891 section 7: it may know no EDNS; its next try is without
            upstream.plain = True
        answer = answer_from(self._question, reply, trusted=upstream.trusted)
        if not answer.status.trouble:
            return answer
        if reply.rcode == SERVFAIL and upstream.trusted and not self._unchecked:
            # once: it is a question more for every name whose servers fail
            self._unchecked = True
            if await self._answers_unchecked(upstream):
                return _BOGUS
        self._worst = answer
        return None

    async def _answers_unchecked(self, upstream: Upstream) -> bool:
        """Whether a validating server has an answer for those who do not want it validated: then what it failed with was validation."""
        attempt = self._ask(upstream, unchecked=True)
        if attempt is None:
            return False
        asked, until = self._attempts[attempt], self._half()
        others = []
        answers = False
        while (arrival := await self._arrival(until)) is not None:
            if arrival.attempt is not attempt:
                others.append(arrival)
                continue
            reply = read_reply(asked, arrival.content) if isinstance(arrival.content, bytes) else None
            if reply is not None:
                answers = reply.rcode in (NOERROR, NXDOMAIN)
                break
        self._end(attempt)
        # a slow server may have said meanwhile what all wait for
        self._arrived.extendleft(reversed(others))
        return answers

    def _half(self) -> float:
        """Return when half of the time that is left is over: the other half is for other servers."""
        return (self._loop.time() + self._deadline) / 2

    async def _by_tcp(self, upstream: Upstream, asked: bytes) -> Reply | None:
        """Return the server's reply over TCP, None where there is none in time."""
        upstream.by_tcp += 1
        id = int.from_bytes(self._manner.entropy(2), "big")
        query = make_query(self._question, id, asked, plain=upstream.plain)
        try:
            async with asyncio.timeout_at(self._half()), self._manner.tcp:
                reply = read_reply(asked, await _over_tcp(upstream.address, query))
        except TimeoutError:
            upstream.missed()
            return None
        except (OSError, EOFError):
            upstream.failed()
            return None
        return reply


async def _over_tcp(server: Server, query: bytes) -> bytes:
    """Return the message that answers `query` by its id, of at most 64 KiB: the length says so.

    Raises OSError, and EOFError for one that is cut short.
    """
    reader, writer = await asyncio.open_connection(*server, limit=65_537)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        wire = await reader.readexactly(length)
    finally:
        writer.close()
    if wire[:2] != query[:2]:
        raise ConnectionError("not an answer to the question")
    return wire


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _mixed(question: bytes, entropy: Callable[[int], bytes]) -> bytes:
    """Return the question with each letter of its name in random case (draft-vixie-dnsext-dns0x20): a bit of chance for each letter."""
    # type and class stand behind the name, and have no letters that may change
    name, tail = question[:-4], question[-4:]
    chance = int.from_bytes(entropy((len(name) + 7) // 8), "big")
    mixed = bytes(
        octet ^ 0x20 if 97 <= octet <= 122 and chance >> place & 1 else octet for place, octet in enumerate(name)
    )
    return mixed + tail
