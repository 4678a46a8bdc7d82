"""The services of plugins, in memory: for trials, and for whoever makes a plugin by hand in a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from upesi.config.units import Rate
from upesi.hooks.services import Clock, LookupTable, Peer, PeerStream
from upesi.lookup.words import read_words
from upesi.mail.errors import ServiceFailed
from upesi.mailauth.failure import Failure
from upesi.mailauth.observation import Observation, Published

__all__ = [
    "FakeAnswer",
    "FakeConnect",
    "FakeHttp",
    "FakeLookup",
    "FileLookup",
    "MemoryRates",
    "MemoryReports",
    "MemoryStore",
]


class MemoryStore:
    """The service `store`; its keys end by `clock`. With `down` every call fails."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keys: dict[str, tuple[bytes, float]] = {}
        self.down = False

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`."""
        self._fail()
        value, ends = self._keys.get(key, (b"", 0.0))
        return value if ends > self._clock.now() else None

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        """Set `key`."""
        self._fail()
        self._keys[key] = (value, self._clock.now() + lifetime)

    async def add(self, key: str, value: bytes, lifetime: float) -> bool:
        """Set `key` unless it is there."""
        if await self.get(key) is not None:
            return False
        await self.put(key, value, lifetime)
        return True

    async def remove(self, key: str) -> None:
        """Forget `key`."""
        self._fail()
        self._keys.pop(key, None)

    def _fail(self) -> None:
        if self.down:
            raise ServiceFailed("the store is down")


class MemoryRates:
    """The service `rates`; its windows end by `clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._events: dict[str, list[float]] = {}

    def take(self, key: str, rate: Rate, n: int = 1) -> bool:
        """Count `n` events of `key`, unless that were more than `rate`."""
        now = self._clock.now()
        events = [at for at in self._events.get(key, []) if at > now - rate.seconds]
        if rate.count and len(events) + n > rate.count:
            return False
        self._events[key] = events + [now] * n
        return True


class MemoryReports:
    """The service `reports`: `rows` is what was noted for DMARC's aggregate reports."""

    def __init__(self) -> None:
        self.rows: list[tuple[Published, Observation]] = []

    def note(self, published: Published, observation: Observation) -> None:
        """Keep one message's row."""
        self.rows.append((published, observation))


class MemoryFailures:
    """The service `failures`: `noted` are the messages that a failure report was wanted of."""

    def __init__(self) -> None:
        self.noted: list[Failure] = []

    def note(self, failure: Failure) -> None:
        """Keep one message."""
        self.noted.append(failure)


class FakeLookup:
    """The service `lookup`: tables by their source, each with its keys in small letters. One whose content is None has no answer."""

    def __init__(self, tables: Mapping[str, Mapping[str, tuple[str, ...]] | None]) -> None:
        self._tables = tables

    def table(self, source: str, *, query: str = "", secret_file: str = "", timeout: float = 5.0) -> LookupTable:
        """Return a table; raise ServiceFailed where the test has none of that name."""
        if source not in self._tables:
            raise ServiceFailed(f"{source}: cannot be read: No such file or directory")
        return _FakeTable(self._tables[source])


class FileLookup:
    """The service `lookup` of `upesi plugins test`: files are read, databases are not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def table(self, source: str, *, query: str = "", secret_file: str = "", timeout: float = 5.0) -> LookupTable:
        """Return a table; raise ServiceFailed where the file cannot be read."""
        scheme, _, path = source.partition(":")
        return _FakeTable(read_words(self._folder / path)[0] if scheme == "file" else None)


class _FakeTable:
    def __init__(self, content: Mapping[str, tuple[str, ...]] | None) -> None:
        self._content = content

    async def get(self, key: str) -> tuple[str, ...] | None:
        if self._content is None:
            raise ServiceFailed("the table has no answer")
        return self._content.get(key.lower())


class FakeAnswer(msgspec.Struct, frozen=True):
    """What a web service says."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}


class FakeHttp:
    """The service `http`: answers by URL; one that is not there has none. `asked` lists method, URL and body of each request."""

    def __init__(self, answers: Mapping[str, FakeAnswer]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, str, bytes]] = []

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        most: int = 1024 * 1024,
    ) -> FakeAnswer:
        """Return the answer; raise ServiceFailed."""
        self.asked.append((method, url, body))
        answer = self._answers.get(url)
        if answer is None or len(answer.body) > most:
            raise ServiceFailed("no answer in time")
        return answer


class FakeConnect:
    """The service `connect`: each address has a function that is given what was sent so far and returns all that the daemon has said to it.

    An address that is not there refuses connections.
    """

    def __init__(self, daemons: Mapping[str, Callable[[bytes], bytes]]) -> None:
        self._daemons = daemons

    def peer(self, address: str, *, timeout: float = 30.0, conversations: int = 20) -> Peer:
        """Return a daemon."""
        return _FakePeer(address, self._daemons.get(address))


class _FakePeer:
    def __init__(self, address: str, daemon: Callable[[bytes], bytes] | None) -> None:
        self._address = address
        self._daemon = daemon

    @asynccontextmanager
    async def open(self) -> AsyncIterator[PeerStream]:
        if self._daemon is None:
            raise ServiceFailed(f"{self._address}: Connection refused")
        yield _FakeStream(self._daemon)


class _FakeStream:
    def __init__(self, daemon: Callable[[bytes], bytes]) -> None:
        self._daemon = daemon
        self._sent = bytearray()
        self._read = 0

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        self._sent += data

    def end(self) -> None:
        pass

    async def until(self, mark: bytes, most: int = 65_536) -> bytes:
        said = self._said()
        place = said.find(mark)
        if place < 0 or place + len(mark) > most:
            raise ServiceFailed(
                "hung up in the midst of its answer" if place < 0 else f"an answer of more than {most} octets"
            )
        return self._taken(place + len(mark))

    async def exactly(self, count: int) -> bytes:
        if len(self._said()) < count:
            raise ServiceFailed("hung up in the midst of its answer")
        return self._taken(count)

    async def rest(self, most: int = 65_536) -> bytes:
        if len(self._said()) > most:
            raise ServiceFailed(f"an answer of more than {most} octets")
        return self._taken(len(self._said()))

    def _said(self) -> bytes:
        return self._daemon(bytes(self._sent))[self._read :]

    def _taken(self, count: int) -> bytes:
        data = self._said()[:count]
        self._read += count
        return data
