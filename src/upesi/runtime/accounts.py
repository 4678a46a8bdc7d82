"""Where passwords are checked (`[[credentials]]`): joined here, closed with the worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from upesi.client.connecting import Connector
from upesi.config.accounts import source_url
from upesi.config.settings import Config
from upesi.lookup.build import Surroundings, build, check
from upesi.lookup.domains import CredentialsByDomain
from upesi.mail.answers import Answer, Status
from upesi.runtime.ground import Ground
from upesi.runtime.readable import check_readable
from upesi.runtime.tokens import make_tokens
from upesi.runtime.web import Web

__all__ = ["check_accounts", "make_accounts"]


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
