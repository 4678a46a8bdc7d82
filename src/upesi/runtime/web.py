"""The worker's one HTTP client: sources of accounts, tokens and plugins share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from upesi.client.connecting import AddressLookup
from upesi.tls.contexts import client_context

if TYPE_CHECKING:
    from upesi.http.client import HttpClient

__all__ = ["Web"]


class Web:
    """The HTTP client of a worker, made when somebody needs it: its library is an extra."""

    __slots__ = ("_client", "_resolver")

    def __init__(self, resolver: AddressLookup) -> None:
        self._resolver = resolver
        self._client: HttpClient | None = None

    def client(self) -> HttpClient:
        """Return the client; raise ModuleNotFoundError where its library is not installed."""
        if self._client is None:
            from upesi.http.client import HttpClient

            self._client = HttpClient(self._addresses, client_context(verify=True))
        return self._client

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()

    async def _addresses(self, name: str) -> tuple[str, ...]:
        return (await self._resolver.addresses(name)).texts
