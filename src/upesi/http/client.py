"""Asking over HTTP: one request, one answer, each within a deadline and a size. The only module that knows aiohttp.

It goes nowhere but where it was told: no redirects, no proxies of the environment, no cookies, nothing unpacked; certificates are verified,
and plain http stays on this machine (`urls`). Names are asked of our own resolver. Retries, and what an answer means, are the caller's.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Protocol

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult

from upesi import __version__
from upesi.http.urls import url_problem
from upesi.mail.errors import ServiceFailed

__all__ = ["MAX_CONNECTIONS", "Addresses", "Content", "HttpAnswer", "HttpClient", "HttpFailed", "HttpUnreached"]

# open at once, of one worker; the rest waits inside its deadline
MAX_CONNECTIONS = 100
# Seconds a connection is kept for the next request: shorter than servers keep theirs, or we would ask one that is just closing
_KEEP = 5.0
# Seconds for the words behind a status that is known already
_WORDS = 5.0
_LOOPBACK = ("127.0.0.1", "::1")


class HttpFailed(ServiceFailed):
    """There is no answer, or none that may be believed. The text is ours: it holds nothing of URL, request or answer."""

    status = "4.4.1"


class HttpUnreached(HttpFailed):
    """There was nobody to ask: no connection came about, and nothing was sent."""


class Content(msgspec.Struct, frozen=True):
    """What is sent in pieces: `pieces` gives them, anew for each try, `size` octets in all."""

    pieces: Callable[[], Iterator[bytes]]
    size: int


class HttpAnswer(msgspec.Struct, frozen=True):
    """What came back, whatever its status; names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Addresses(Protocol):
    """Finds the addresses of a host."""

    async def __call__(self, name: str) -> tuple[str, ...]:
        """Return IPv4 and IPv6 addresses, none where there are none or DNS fails."""
        ...


class HttpClient:
    """Connections are kept and shared by host. `context` verifies servers, unless a request brings its own."""

    __slots__ = ("_addresses", "_context", "_session")

    def __init__(self, addresses: Addresses, context: ssl.SSLContext) -> None:
        self._addresses = addresses
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float,
        most: int = 65_536,
        context: ssl.SSLContext | None = None,
    ) -> HttpAnswer:
        """Return the answer. A request whose kept connection was just closed by the server is made once more.

        Args:
            timeout: seconds for everything together.
            most: octets that the body of the answer may have.

        Raises:
            HttpFailed: none came in time, or it is too large, or the server is not who it should be; or the URL is none to go to.
        """
        return await _answered(url, timeout, lambda: self._asked(method, url, body, headers, most, context))

    async def post(
        self, url: str, content: Content, headers: Mapping[str, str], *, timeout: float, most: int
    ) -> HttpAnswer:
        """Hand `content` over and return the answer, its body cut at `most` octets: what counts is the status, once it is known.

        Otherwise as `request`. Raises HttpFailed; HttpUnreached where nothing was sent.
        """
        return await _answered(url, timeout, lambda: self._posted(url, content, headers, most))

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _posted(self, url: str, content: Content, headers: Mapping[str, str], most: int) -> HttpAnswer:
        if self._session is None:
            self._session = self._opened()
        sized = {**headers, "Content-Length": str(content.size)}
        async with self._session.post(
            url, data=_streamed(content), headers=sized, allow_redirects=False, ssl=self._context
        ) as response:
            words = bytearray()
            # whatever becomes of the rest, the message was taken, or was not
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(_WORDS):
                    async for piece in response.content.iter_any():
                        words += piece
                        if len(words) > most:
                            break
            names = {name.lower(): value for name, value in response.headers.items()}
            return HttpAnswer(response.status, names, bytes(words[:most]))

    async def _asked(
        self,
        method: str,
        url: str,
        body: bytes,
        headers: Mapping[str, str] | None,
        most: int,
        context: ssl.SSLContext | None,
    ) -> HttpAnswer:
        if self._session is None:
            self._session = self._opened()
        async with self._session.request(
            method, url, data=body or None, headers=headers, allow_redirects=False, ssl=context or self._context
        ) as response:
            content = bytearray()
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > most:
                    raise HttpFailed(f"the answer has more than {most} octets")
            names = {name.lower(): value for name, value in response.headers.items()}
            return HttpAnswer(response.status, names, bytes(content))

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=_Resolver(self._addresses), limit=MAX_CONNECTIONS, keepalive_timeout=_KEEP, use_dns_cache=False
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # a small answer must not become a large one here
            auto_decompress=False,
            headers={"User-Agent": f"upesi/{__version__}", "Accept-Encoding": "identity"},
            # the whole has a deadline of its own
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        )


async def _answered(url: str, timeout: float, ask: Callable[[], Awaitable[HttpAnswer]]) -> HttpAnswer:
    """Return what `ask` returns, within `timeout`; raise HttpFailed for whatever goes wrong."""
    problem = url_problem(url)
    if problem:
        raise HttpFailed(f"the URL {problem}")
    try:
        async with asyncio.timeout(timeout):
            try:
                return await ask()
            except aiohttp.ServerDisconnectedError:
                return await ask()
    except TimeoutError:
        raise HttpFailed("no answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        failure = HttpUnreached if isinstance(error, aiohttp.ClientConnectorError) else HttpFailed
        # without its cause: the text of these holds the URL, the answer, or both
        raise failure(_why(error)) from None


async def _streamed(content: Content) -> AsyncIterator[bytes]:
    for piece in content.pieces():
        yield piece


class _Resolver(AbstractResolver):
    """Our resolver in aiohttp's words."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        # "localhost" is this machine whatever DNS says of it (RFC 6761 section 6.3)
        found = _LOOPBACK if host.lower() == "localhost" else await self._addresses(host)
        if not found:
            raise OSError(None, "host has no address")
        return [self._result(host, address, port) for address in found]

    def _result(self, host: str, address: str, port: int) -> ResolveResult:
        family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
        return ResolveResult(
            hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
        )

    async def close(self) -> None:
        """Nothing is held."""


def _why(error: Exception) -> str:
    """Say what went wrong, in words that hold nothing of what was asked or answered."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        return f"the server's certificate: {getattr(inner, 'verify_message', '') or type(inner).__name__}"
    if isinstance(error, ssl.SSLError | aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, OSError) and error.errno is not None:
        # by number: the loop's own text has the address in it
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return type(error).__name__
