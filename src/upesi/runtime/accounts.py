"""Where passwords are checked (`[[credentials]]`), and the worker's one HTTP client: joined here, closed with the worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from upesi.client.connecting import AddressLookup, Connector
from upesi.config.accounts import source_url
from upesi.config.settings import Config
from upesi.lookup.build import Surroundings, build, check
from upesi.lookup.domains import CredentialsByDomain
from upesi.mail.answers import Answer, Status
from upesi.runtime.ground import Ground
from upesi.runtime.readable import check_readable
from upesi.runtime.tokens import make_tokens
from upesi.tls.contexts import client_context

if TYPE_CHECKING:
    from upesi.http.client import HttpClient

__all__ = ["Web", "check_accounts", "make_accounts"]


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


def make_accounts(ground: Ground, connector: Connector, web: Web) -> CredentialsByDomain | None:
    """Return where the passwords of a worker's users are checked, None where nobody has one."""
    config = ground.config
    return build(config, Surroundings(ground.loop, ground.emit, connector, config.node.name, web.client))


def check_accounts(config: Config) -> None:
    """Make what a worker would make, and let go of it again: files are read, nothing is connected.

    Raises:
        UpesiError: a source cannot be made, or what it needs cannot be read by the user as whom workers will run.
    """
    if config.credentials or config.auth.oauth.introspection or config.auth.oauth.keys:
        asyncio.run(_check(config))


async def _check(config: Config) -> None:
    loop = asyncio.get_running_loop()
    connector = Connector(loop, _Nowhere(), allow_private=False)
    web = Web(_Nowhere())
    make_tokens(config.auth, web.client, loop.time)
    await check(config, Surroundings(loop, _silence, connector, config.node.name, web.client))
    await web.close()
    if os.geteuid() == 0 and config.node.user:
        for path in _files(config):
            check_readable(path, config.node.user)


def _files(config: Config) -> Iterator[Path]:
    """Yield what workers will read."""
    for table in config.credentials:
        url = source_url(table.source)
        local = url.path if url.scheme in ("file", "sqlite") else ""
        yield from (Path(path) for path in (local, table.secret_file, table.ca_file) if path)


class _Nowhere:
    """DNS for a check: nothing is asked."""

    async def addresses(self, name: str) -> Answer:
        return Answer(Status.TIMEOUT)


def _silence(name: str, fields: Mapping[str, object]) -> None:
    """What a check would have told is told by its failure."""
