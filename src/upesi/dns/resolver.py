"""The stub resolver: the only way to ask DNS.

Asks recursive servers, best a validating one on this machine (`exchange`). Equal questions that are under way are asked once; answers are
kept for their TTL, absence too (RFC 2308), and longer for when nobody answers (RFC 8767). It does not recurse and does not validate:
what DNSSEC says is the AD bit of a server that is trusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import msgspec

from upesi.dns.answers import AnswerCache, Key
from upesi.dns.codec import Question, make_question
from upesi.dns.exchange import Exchange, Manner
from upesi.dns.lookups import Lookups, both_families
from upesi.dns.servers import Server
from upesi.dns.upstream import Emit, Upstream
from upesi.mail.answers import Answer, Security, Status

__all__ = ["Resolver"]

# Questions under way at once; one more is trouble at once. So many that names whose servers are silent do not keep the others waiting
# (DNS-07): a thousand sessions with four questions each
MAX_IN_FLIGHT = 4000

# Connections to servers by TCP at once; more wait inside their deadline
MAX_TCP = 64

# Seconds for which trouble is remembered: ten thousand domains must not all wait for a dead server, and it should be missed briefly
TROUBLE_TTL = 5.0

# RFC 8767 section 5: seconds after which a client gets what is stale while the question goes on; and for which a stale answer then stands
STALE_AFTER = 1.8
STALE_TTL = 30.0

# An old TLSA record would hold mail back that its domain's new key could have; DANE must hear of trouble instead (RFC 7672 section 2.1.1)
_NEVER_STALE = ("TLSA",)

# In place of a type: the name does not exist, whatever is asked (RFC 8020)
_ANY = ""

_NO_NAME = Answer(Status.NXDOMAIN)
_BUSY = Answer(Status.TIMEOUT)


class Resolver(Lookups):
    """Answers questions about names. `entropy(n)` gives n random octets, `timeout` is in seconds for one question, all tries together.

    `trusted` says that every server's AD bit counts, not only that of servers on this machine. Time is the loop's. Cancelling a caller does
    not cancel a question that others may wait for. `hits`, `misses`, `joined` (a question that was under way), `stale` and `refused` (too
    many under way) count for ever.
    """

    __slots__ = (
        "_cache", "_in_flight", "_loop", "_manner", "_tasks", "hits", "joined", "misses", "refused", "stale", "upstreams",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: Sequence[Server],
        entropy: Callable[[int], bytes],
        *,
        timeout: float = 5.0,
        cache_size: int = 10_000,
        serve_stale: float = 0.0,
        trusted: bool = False,
        mix_case: bool = False,
        emit: Emit = lambda event, fields: None,
    ) -> None:
        self._loop = loop
        self._manner = Manner(loop, entropy, timeout, mix_case, asyncio.Semaphore(MAX_TCP))
        self._cache = AnswerCache(cache_size, loop.time, serve_stale)
        self._in_flight: dict[Key, asyncio.Future[Answer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.upstreams = [
            Upstream(loop, server, entropy, emit, trusted=trusted or ip_address(server[0]).is_loopback)
            for server in servers
        ]
        self.hits = 0
        self.misses = 0
        self.joined = 0
        self.stale = 0
        self.refused = 0

    def known(self, name: str, kind: str) -> Answer | None:
        """Return the answer if it is in memory and fresh."""
        known = self._remembered((name.lower().rstrip("."), kind))
        self.hits += known is not None
        return known

    async def query(self, name: str, kind: str) -> Answer:
        """Return the records of type `kind` ("TXT", "A", ...) at `name`, without a wait where they are known.

        Raises ValueError for a type that cannot be asked for.
        """
        key = (name.lower().rstrip("."), kind)
        known = self._cache.get(key)
        if known is not None:
            self.hits += 1
            return known
        begun = self._begin(key)
        return begun if isinstance(begun, Answer) else await _waited(begun)

    async def addresses(self, name: str) -> Answer:
        """Return the IPv6 and IPv4 addresses of `name`; both questions are under way at once."""
        key = name.lower().rstrip(".")
        six, four = self._begin((key, "AAAA")), self._begin((key, "A"))
        return both_families(
            six if isinstance(six, Answer) else await _waited(six),
            four if isinstance(four, Answer) else await _waited(four),
        )

    def close(self) -> None:
        """Drop the questions under way; whoever waits for one is cancelled."""
        for task in tuple(self._tasks):
            task.cancel()
        for upstream in self.upstreams:
            upstream.ports.close()

    def _remembered(self, key: Key) -> Answer | None:
        return self._cache.get(key) or self._cache.get((key[0], _ANY))

    def _begin(self, key: Key) -> Answer | asyncio.Future[Answer]:
        """Return the answer, or what will be: of a question that is under way, or sent now."""
        known = self._remembered(key)
        if known is not None:
            self.hits += 1
            return known
        future = self._in_flight.get(key)
        if future is not None:
            self.joined += 1
            return future
        question = make_question(*key)
        if question is None:
            return _NO_NAME
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            self.refused += 1
            return _BUSY
        self.misses += 1
        future = self._in_flight[key] = self._loop.create_future()
        task = self._loop.create_task(self._fetch(key, question, future))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return future

    async def _fetch(self, key: Key, question: Question, future: asyncio.Future[Answer]) -> None:
        old = self._stale(key)
        early = self._loop.call_later(STALE_AFTER, self._give, future, old) if old is not None else None
        try:
            answer = await Exchange(self._manner, self._order(), question).answer()
            self._give(future, self._remember(key, answer, old))
        except asyncio.CancelledError:
            future.cancel()
            raise
        except Exception as error:
            # our own: it belongs to whoever waits
            if not future.done():
                future.set_exception(error)
        finally:
            del self._in_flight[key]
            if early is not None:
                early.cancel()

    def _order(self) -> list[Upstream]:
        """Return the servers, the configuration's first first, silent ones last."""
        if len(self.upstreams) == 1:
            return self.upstreams
        first = [upstream for upstream in self.upstreams if upstream.asked_first()]
        return first + [upstream for upstream in self.upstreams if upstream not in first]

    def _give(self, future: asyncio.Future[Answer], answer: Answer) -> None:
        if not future.done():
            self.stale += answer.stale
            future.set_result(answer)

    def _stale(self, key: Key) -> Answer | None:
        """Return what there is if nobody answers."""
        old = self._cache.stale(key)
        if old is None or old.status is not Status.OK or key[1] in _NEVER_STALE:
            return None
        return old if old.stale else msgspec.structs.replace(old, stale=True, ttl=STALE_TTL)

    def _remember(self, key: Key, answer: Answer, old: Answer | None) -> Answer:
        """Keep what came of a question; return what is to be said."""
        if answer.status.trouble:
            # validation that failed is no silence: what was there before is not better
            if old is not None and answer.security is not Security.BOGUS:
                self._cache.refresh(key, old, STALE_TTL)
                return old
            self._cache.put(key, answer, TROUBLE_TTL)
        elif answer.status is Status.NXDOMAIN and not answer.name:
            self._cache.put((key[0], _ANY), answer, answer.ttl)
        else:
            self._cache.put(key, answer, answer.ttl, _octets(answer))
        return answer


async def _waited(future: asyncio.Future[Answer]) -> Answer:
    # whoever stops waiting stops for himself
    return await asyncio.shield(future)


def _octets(answer: Answer) -> int:
    records = len(answer.mx) + len(answer.srv) + len(answer.tlsa)
    return sum(map(len, answer.texts)) + 64 * (records + len(answer.texts))
