"""Asking web services on behalf of plugins: the service `http`. Around `client` it has a breaker for each server, and nothing else.

It needs no library to be imported: that comes with the first request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from upesi.limits.breaker import Breaker
from upesi.mail.errors import ServiceFailed

if TYPE_CHECKING:
    from upesi.http.client import HttpAnswer, HttpClient

__all__ = ["MAX_SERVERS", "HttpService", "ServerLeftAlone"]

# servers whose failures are remembered: a plugin talks to a few. Beyond it the oldest is forgotten, which costs a deadline or two
MAX_SERVERS = 1_000
_TIMEOUT = 10.0
_MOST = 1024 * 1024


class ServerLeftAlone(ServiceFailed):
    """The server failed again and again, and is not asked for a while."""

    status = "4.4.1"


class HttpService:
    """The service `http`. `client` is made when the first plugin asks; `now` is a monotonic clock."""

    __slots__ = ("_breakers", "_client", "_now")

    def __init__(self, client: Callable[[], HttpClient], now: Callable[[], float]) -> None:
        self._client = client
        self._now = now
        self._breakers: dict[str, Breaker] = {}

    async def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = _TIMEOUT,
        most: int = _MOST,
    ) -> HttpAnswer:
        """Return the answer, whatever its status; it goes to https, and to plain http on this machine only.

        Args:
            timeout: seconds for everything together.
            most: octets that the body of the answer may have.

        Raises:
            ServiceFailed: there is none in time, it is too large, the server is not who it should be, or it failed five times in a row.
        """
        breaker = self._breaker(url)
        if breaker.shut():
            raise ServerLeftAlone("the server failed again and again, and is left alone for a while")
        try:
            answer = await self._client().request(method, url, body=body, headers=headers, timeout=timeout, most=most)
        except ServiceFailed:
            breaker.failed()
            raise
        if answer.status >= 500:
            breaker.failed()
        else:
            breaker.succeeded()
        return answer

    def _breaker(self, url: str) -> Breaker:
        try:
            parts = urlsplit(url)
        except ValueError:
            # the client says what is wrong with it
            return Breaker(self._now)
        server = f"{parts.scheme}://{parts.netloc}"
        breaker = self._breakers.get(server)
        if breaker is None:
            if len(self._breakers) >= MAX_SERVERS:
                del self._breakers[next(iter(self._breakers))]
            breaker = self._breakers[server] = Breaker(self._now)
        return breaker
