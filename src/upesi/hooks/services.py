"""What a plugin may ask for in its constructor, by the names of its parameters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from upesi.config.units import Rate
from upesi.hooks.guard import Emit

__all__ = [
    "SERVICES", "Absent", "Clock", "Connect", "Http", "HttpAnswer", "Lookup", "LookupTable", "Peer", "PeerStream", "PluginLog", "Rates",
    "Store", "SystemClock", "Unused",
]  # fmt: skip

# every service of the plugin API; which of them a worker has depends on what it was built with. `node` is this server's name, as in [node]
SERVICES = (
    "dns",
    "store",
    "lookup",
    "http",
    "connect",
    "clock",
    "node",
    "reports",
    "failures",
    "rates",
    "own_mail",
    "log",
)


class Clock(Protocol):
    """The time."""

    def now(self) -> float:
        """Return wall-clock seconds (Unix); they may step."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring."""
        ...


class Store(Protocol):
    """The service `store`: keys with a lifetime in seconds, which all workers share and which survive a restart.

    A plugin begins its keys with its own name ("greylist:..."). Each method raises ServiceFailed.
    """

    async def get(self, key: str) -> bytes | None:
        """Return the value of `key`, None where there is none, or no longer."""
        ...

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        """Set `key`, whatever it was."""
        ...

    async def add(self, key: str, value: bytes, lifetime: float) -> bool:
        """Set `key` unless it is there; say whether it was set. Of two workers at the same moment one is told True."""
        ...

    async def remove(self, key: str) -> None:
        """Forget `key`."""
        ...


class Rates(Protocol):
    """The service `rates`: counts of what happens in a window of time, over all workers; forgotten when the machine starts anew.

    A plugin begins its keys with its own name ("greylist:..."). A call takes some microseconds and fails never.
    """

    def take(self, key: str, rate: Rate, n: int = 1) -> bool:
        """Count `n` events of `key` now; False, and nothing counted, where the window would then hold more than `rate` allows."""
        ...


class LookupTable(Protocol):
    """A table that the service `lookup` made."""

    async def get(self, key: str) -> tuple[str, ...] | None:
        """Return the values of `key`, None where it has none; raise ServiceFailed where the table has no answer now."""
        ...


class Lookup(Protocol):
    """The service `lookup`: tables in files and databases."""

    def table(self, source: str, *, query: str = "", secret_file: str = "", timeout: float = 5.0) -> LookupTable:
        """Return "file:PATH", "sqlite:PATH" or "postgresql://USER@HOST/DATABASE" as a table. Call it in the constructor.

        A file has a key and its values in each line, and is read again when it changes. A database needs a `query`: the key is $1, what
        stands before its last "@" $2, what stands behind it $3. Raises ValueError and ServiceFailed, which stop the start.
        """
        ...


class HttpAnswer(Protocol):
    """What a web service said."""

    @property
    def status(self) -> int:
        """200, 404, ..."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """By their names in lower case."""
        ...

    @property
    def body(self) -> bytes:
        """All of it."""
        ...


class Http(Protocol):
    """The service `http`: https, and plain http on this machine; no redirects, no cookies."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        most: int = 1024 * 1024,
    ) -> HttpAnswer:
        """Return the answer within `timeout` seconds, of at most `most` octets, whatever its status; raise ServiceFailed."""
        ...


class PeerStream(Protocol):
    """A conversation with a daemon. Each method raises ServiceFailed."""

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets."""
        ...

    def end(self) -> None:
        """Say that nothing more comes from us."""
        ...

    async def until(self, mark: bytes, most: int = 65_536) -> bytes:
        """Return all up to `mark` and with it, at most `most` octets."""
        ...

    async def exactly(self, count: int) -> bytes:
        """Return `count` octets."""
        ...

    async def rest(self, most: int = 65_536) -> bytes:
        """Return all that comes until the daemon hangs up, at most `most` octets."""
        ...


class Peer(Protocol):
    """A daemon that the service `connect` leads to."""

    def open(self) -> AbstractAsyncContextManager[PeerStream]:
        """Begin a conversation: `async with peer.open() as stream`. Raises ServiceFailed for all that is the daemon's fault."""
        ...


class Connect(Protocol):
    """The service `connect`: daemons such as scanners, each with a deadline, a bound and a breaker."""

    def peer(self, address: str, *, timeout: float = 30.0, conversations: int = 20) -> Peer:
        """Return the daemon at "HOST:PORT" or "unix:/PATH"; `timeout` is for one conversation. Call it in the constructor.

        Raises ValueError for what is no address.
        """
        ...


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> float:
        """Return wall-clock seconds (Unix)."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class Unused:
    """Stands for a service while a configuration is only checked: a plugin is made with it, and none of its hooks is called."""

    __slots__ = ()


class Absent:
    """Stands for a service that this server cannot have; `why` is what the operator reads."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


class PluginLog:
    """A plugin's own log: `log("listed", client="192.0.2.1")` becomes the event "dnsbl.listed"."""

    __slots__ = ("_emit", "_plugin")

    def __init__(self, plugin: str, emit: Emit) -> None:
        self._plugin = plugin
        self._emit = emit

    def __call__(self, event: str, /, **fields: object) -> None:
        """Report `event` with `fields`; never message content, never a credential."""
        self._emit(f"{self._plugin}.{event}", fields)
