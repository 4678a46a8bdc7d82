"""From the hosts of a destination to open connections: addresses, families, the check of where DNS leads us.

All addresses of one host are tried before the next host (RFC 5321 section 5.1, C23). Addresses of both families alternate,
and one that does not answer delays the next by two seconds only, so that a dead family is no stall (OUT-11). The address is
judged here, when it is about to be used, not when MX was looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Protocol, cast

import msgspec

from upesi.client.connection import Connection, ConnectionLost
from upesi.client.destinations import is_forbidden
from upesi.client.identity import is_address
from upesi.mail.answers import Answer
from upesi.protocol.smtp.client import ClientConnection

__all__ = ["AddressLookup", "Connector", "Endpoint", "LoopsBack", "NoAddress"]

# Addresses of one host that are tried; the largest receivers publish about this many (DNS-04)
MAX_ADDRESSES = 10

# Seconds before the next address is tried beside one that does not answer
HEAD_START = 2.0

# Seconds for one address; Linux alone would try for two minutes
CONNECT_TIMEOUT = 30.0


class NoAddress(Exception):
    """A host has no usable address; `temporary` says whether that may change by itself."""

    def __init__(self, text: str, *, temporary: bool) -> None:
        super().__init__(text)
        self.temporary = temporary


class LoopsBack(Exception):
    """A host that DNS named is this server."""


class AddressLookup(Protocol):
    """Finds the addresses of a host (`upesi.dns.resolver.Resolver`)."""

    async def addresses(self, name: str) -> Answer:
        """Return A and AAAA records."""
        ...


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One address of one host. `port` 0 means that `address` is the path of a Unix socket."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        if self.name in (self.address, ""):
            return f"[{self.address}]" if self.port else self.address
        return f"{self.name} [{self.address}]"


class Connector:
    """Opens connections, and counts them in `opened`.

    `sources` are local addresses to bind, at most one for each family; none: the kernel chooses. `ourselves` says of an address
    and a port whether we listen there.
    """

    __slots__ = ("_allow_private", "_lookup", "_loop", "_ourselves", "_sources", "opened")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lookup: AddressLookup,
        *,
        allow_private: bool,
        sources: Iterable[str] = (),
        ourselves: Callable[[str, int], bool] = lambda address, port: False,
    ) -> None:
        self._loop = loop
        self._ourselves = ourselves
        self.opened = 0
        self._lookup = lookup
        self._allow_private = allow_private
        self._sources = {ip_address(source).version: source for source in sources}

    async def endpoints(self, name: str, port: int, *, known: tuple[str, ...], private: bool) -> list[Endpoint]:
        """Return where `name` can be reached, in the order to try, asking DNS unless `known` says it.

        `private` allows every address: the operator wrote this host. Raises NoAddress, or LoopsBack where a stranger's DNS leads to us.
        """
        if port == 0:
            return [Endpoint(name, name, 0)]
        addresses = known or (name,) if is_address(name) else known or await self._ask(name)
        if not private and any(self._ourselves(address, port) for address in addresses):
            raise LoopsBack
        allowed = [a for a in addresses if private or self._allow_private or not is_forbidden(a)]
        if not allowed:
            raise NoAddress("every address of the host is loopback, private or reserved", temporary=False)
        return [Endpoint(name, address, port) for address in _alternate(allowed)[:MAX_ADDRESSES]]

    async def _ask(self, name: str) -> tuple[str, ...]:
        answer = await self._lookup.addresses(name)
        if not answer.texts:
            raise NoAddress("host has no address" if not answer.status.trouble else "DNS failed for the host",
                            temporary=answer.status.trouble)  # fmt: skip
        return answer.texts

    async def open(self, endpoints: list[Endpoint], *, lmtp: bool = False, implicit: bool = False) -> Connection:
        """Return a connection to the first of `endpoints` that accepts one; raise ConnectionLost when none does.

        With `implicit`, its TLS handshake must come next.

        Endpoints that were tried are taken off the list, so that calling again goes on with the rest.
        """
        running: set[asyncio.Task[Connection]] = set()
        reason = "no address to connect to"
        try:
            while endpoints or running:
                if endpoints:
                    running.add(self._loop.create_task(self._connect(endpoints.pop(0), lmtp, implicit)))
                done, running = await asyncio.wait(
                    running, timeout=HEAD_START if endpoints else None, return_when=asyncio.FIRST_COMPLETED
                )
                opened = [task.result() for task in done if task.exception() is None]
                if opened:
                    for extra in opened[1:]:
                        extra.abort()
                    return opened[0]
                for task in done:
                    reason = str(task.exception())
        finally:
            await _cancel(running)
        raise ConnectionLost(reason)

    async def _connect(self, endpoint: Endpoint, lmtp: bool, implicit: bool) -> Connection:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                connection = await self._create(endpoint, lmtp, implicit)
        except TimeoutError:
            raise ConnectionLost(f"{endpoint}: connection timed out") from None
        except OSError as error:
            raise ConnectionLost(f"{endpoint}: {_why(error)}") from None
        connection.remote = str(endpoint)
        connection.local = endpoint.port == 0
        self.opened += 1
        return connection

    async def _create(self, endpoint: Endpoint, lmtp: bool, implicit: bool) -> Connection:
        connection = Connection(self._loop, ClientConnection(lmtp=lmtp, implicit=implicit))

        def protocol() -> asyncio.Protocol:
            return cast("asyncio.Protocol", connection)

        if endpoint.port == 0:
            await self._loop.create_unix_connection(protocol, endpoint.address)
            return connection
        source = self._sources.get(ip_address(endpoint.address).version)
        local = (source, 0) if source else None
        await self._loop.create_connection(protocol, endpoint.address, endpoint.port, local_addr=local)
        return connection


async def _cancel(tasks: set[asyncio.Task[Connection]]) -> None:
    """End attempts that lost the race; one that won at the last moment is closed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Connection):
            result.abort()


def _why(error: OSError) -> str:
    # asyncio puts the errors of several addresses into one text; with one address, strerror or errno's text is all there is
    return error.strerror or type(error).__name__


def _alternate(addresses: list[str]) -> list[str]:
    """Return IPv6 and IPv4 addresses in turn, each family in its own order, IPv6 first (RFC 8305 section 4)."""
    six = [a for a in addresses if ":" in a]
    four = [a for a in addresses if ":" not in a]
    return [a for a in chain.from_iterable(zip_longest(six, four)) if a is not None]
