"""A very small HTTP server for GET /metrics, /healthz and /readyz. Runs in the supervisor, on loopback unless told otherwise.

One request on each connection, GET and HEAD only, no bodies, bounded in size, time and number (ADM-01): it answers a scraper and
a load balancer and is no place to build on.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from upesi.observe.exposition import CONTENT_TYPE

__all__ = ["Answer", "HealthServer", "health_pages"]

# request line and fields; a browser sends under 2 kB, a scraper 200 octets
_MAX_REQUEST = 8192
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
# a scraper and a few probes; more at once is somebody else
_MAX_CONNECTIONS = 32
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Answer(msgspec.Struct, frozen=True):
    """What a page answers."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Page = Callable[[], Awaitable[Answer]]


def health_pages(
    metrics: Callable[[], Awaitable[bytes]],
    healthy: Callable[[], str],
    ready: Callable[[], str],
) -> Mapping[str, Page]:
    """Return the three pages. `metrics` gives the exposition; the others an empty text if all is well, else what is wrong."""

    async def exposition() -> Answer:
        return Answer(200, await metrics(), CONTENT_TYPE)

    async def health() -> Answer:
        return _state(healthy())

    async def readiness() -> Answer:
        return _state(ready())

    return {"/metrics": exposition, "/healthz": health, "/readyz": readiness}


def _state(trouble: str) -> Answer:
    return Answer(503, f"{trouble}\n".encode()) if trouble else Answer(200, b"ok\n")


class HealthServer:
    """Serves `pages` (path -> coroutine function) on a bound socket or an address."""

    __slots__ = ("_failed", "_open", "_pages", "_server")

    def __init__(self, pages: Mapping[str, Page], failed: Callable[[BaseException], None]) -> None:
        """`failed` is told of a page that raised; the client only learns that it was our fault."""
        self._pages = pages
        self._failed = failed
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, address: str, port: int, *, sock: socket.socket | None = None) -> int:
        """Listen, and return the port; raise OSError."""
        if sock is not None:
            self._server = await asyncio.start_server(self._serve, sock=sock, limit=_MAX_REQUEST)
        else:
            self._server = await asyncio.start_server(self._serve, address, port, limit=_MAX_REQUEST)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the listener and whatever is open."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        if self._server is not None:
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._open.add(writer)
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _REQUEST_SECONDS)
            method, answer = await self._answer(head)
            writer.write(_response(answer, with_body=method != "HEAD"))
            await asyncio.wait_for(writer.drain(), _ANSWER_SECONDS)
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError):
            pass  # too slow, too large or gone: no answer is owed
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(self, head: bytes) -> tuple[str, Answer]:
        parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return "", Answer(400, b"not an HTTP/1 request\n")
        method, target, _ = parts
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            return method, Answer(404, b"there are " + ", ".join(self._pages).encode() + b"\n")
        if method not in ("GET", "HEAD"):
            return method, Answer(405, b"only GET and HEAD\n")
        try:
            return method, await asyncio.wait_for(page(), _ANSWER_SECONDS)
        except Exception as error:  # a page that fails must not end the server
            self._failed(error)
            return method, Answer(500, b"failed; the log says why\n")


def _response(answer: Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\n"
        f"Content-Type: {answer.content_type}\r\nContent-Length: {len(answer.body)}\r\n"
        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if with_body else b"")
