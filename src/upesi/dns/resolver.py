"""The stub resolver: the only way to ask DNS.

Asks recursive servers, best a validating one on this machine. Tries each in turn, twice, inside one deadline; equal questions that
are under way are asked once; answers are kept for their TTL. It does not recurse and does not validate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

from upesi.dns.cache import TtlCache
from upesi.dns.codec import answer_from, make_query
from upesi.dns.exchange import ask
from upesi.mail.answers import Answer, Status

__all__ = ["Resolver"]

# Every server is tried this often; a lost datagram is likelier than a dead server
ROUNDS = 2

# Questions under way at once, each with a socket; more wait their turn inside their own deadline
MAX_IN_FLIGHT = 500

# Seconds for which trouble is remembered: ten thousand domains must not all wait for a dead server, and it should be missed briefly
TROUBLE_TTL = 5.0

_Key = tuple[str, str]


class Resolver:
    """Answers questions about names. `entropy(n)` gives n random octets, `timeout` is in seconds for one lookup, all tries together.

    Time is the loop's. Cancelling a caller does not cancel a question that others may wait for.
    """

    __slots__ = ("_cache", "_entropy", "_in_flight", "_loop", "_servers", "_slots", "_timeout")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        servers: tuple[tuple[str, int], ...],
        entropy: Callable[[int], bytes],
        *,
        timeout: float = 5.0,
        cache_size: int = 10_000,
    ) -> None:
        self._loop = loop
        self._servers = servers
        self._entropy = entropy
        self._timeout = timeout
        self._cache: TtlCache[_Key, Answer] = TtlCache(cache_size, loop.time)
        self._in_flight: dict[_Key, asyncio.Task[Answer]] = {}
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def query(self, name: str, kind: str) -> Answer:
        """Return the records of type `kind` ("TXT", "A", ...) at `name`."""
        return await self._lookup(name, kind)

    async def mx(self, domain: str) -> Answer:
        """Return the MX records of `domain`, as DNS ordered them."""
        return await self._lookup(domain, "MX")

    async def txt(self, name: str) -> Answer:
        """Return the TXT records of `name`."""
        return await self._lookup(name, "TXT")

    async def ptr(self, address: str) -> Answer:
        """Return the names of `address`; raise ValueError if it is none. They are claims until they are looked up in turn (DNS-06)."""
        return await self._lookup(ip_address(address).reverse_pointer, "PTR")

    async def addresses(self, name: str) -> Answer:
        """Return the IPv6 and IPv4 addresses of `name`. Trouble with one family matters only where the other has none."""
        six, four = await asyncio.gather(self._lookup(name, "AAAA"), self._lookup(name, "A"))
        texts = six.texts + four.texts
        if texts:
            ttl = min(answer.ttl for answer in (six, four) if answer.texts)
            return Answer(Status.OK, texts=texts, ttl=ttl)
        return six if six.status.trouble else four

    def close(self) -> None:
        """Drop the questions under way; whoever waits for one is cancelled."""
        for task in tuple(self._in_flight.values()):
            task.cancel()

    async def _lookup(self, name: str, kind: str) -> Answer:
        key = (name.lower().rstrip("."), kind)
        known = self._cache.get(key)
        if known is not None:
            return known
        task = self._in_flight.get(key)
        if task is None:
            task = self._in_flight[key] = self._loop.create_task(self._fetch(key))
        return await asyncio.shield(task)

    async def _fetch(self, key: _Key) -> Answer:
        try:
            answer = await self._ask_servers(*key)
            self._cache.put(key, answer, TROUBLE_TTL if answer.status.trouble else answer.ttl)
            return answer
        finally:
            del self._in_flight[key]

    async def _ask_servers(self, name: str, kind: str) -> Answer:
        """Ask every server in turn until one knows."""
        worst = Answer(Status.TIMEOUT)
        share = self._timeout / (ROUNDS * len(self._servers))
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                for server in self._servers * ROUNDS:
                    answer = await self._ask_one(server, name, kind, share)
                    if not answer.status.trouble:
                        return answer
                    if answer.status is Status.SERVFAIL:
                        worst = answer
        except TimeoutError:
            pass
        return worst

    async def _ask_one(self, server: tuple[str, int], name: str, kind: str, within: float) -> Answer:
        query = make_query(name, kind, int.from_bytes(self._entropy(2), "big"))
        if query is None:
            return Answer(Status.NXDOMAIN)  # no name that DNS could hold exists
        try:
            async with asyncio.timeout(within):
                return answer_from(await ask(self._loop, server, query))
        except TimeoutError:
            return Answer(Status.TIMEOUT)
        except (OSError, EOFError):
            return Answer(Status.SERVFAIL)
