"""From `[[credentials]]` to one source. Nothing is asked or connected here, but files are read.

What cannot be used stops a start or a reload (`check`). A worker that is made all the same, in the place of one that died, takes and sends
mail, and answers 454 to those whose source it lacks.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from upesi.client.connecting import Connector
from upesi.config.accounts import SourceUrl, source_url
from upesi.config.problems import wrong
from upesi.config.settings import Config, CredentialsSettings
from upesi.lookup.cache import AcceptedLogins
from upesi.lookup.domains import CredentialsByDomain, Served
from upesi.lookup.failures import LookupFailed
from upesi.lookup.guard import GuardedCredentials, Source
from upesi.lookup.judge import PasswordJudge
from upesi.sasl.credentials import Identity, Origin, Refused

if TYPE_CHECKING:
    from upesi.http.client import HttpClient

__all__ = ["Surroundings", "build", "check"]

Emit = Callable[[str, Mapping[str, str | int]], None]
Make = Callable[[CredentialsSettings, SourceUrl, "Surroundings"], Source]


class Surroundings(msgspec.Struct, frozen=True):
    """What sources are made of: passed in by `runtime`.

    `connector` reaches other servers, `name` is what we call ourselves there; `web` gives the HTTP client, made when it is asked for.
    """

    loop: asyncio.AbstractEventLoop
    emit: Emit
    connector: Connector
    name: str
    web: Callable[[], HttpClient]


# scheme: the module whose `make` builds the source; imported when it is configured, because each needs a library of its own
_MODULES: Mapping[str, str] = {
    "file": "stored_sources",
    "sqlite": "stored_sources",
    "postgresql": "stored_sources",
    "ldap": "ldap",
    "ldaps": "ldap",
    "dovecot": "dovecot",
    "http": "web",
    "https": "web",
    "smtp": "smtp",
    "smtps": "smtp",
}


def build(config: Config, surroundings: Surroundings) -> CredentialsByDomain | None:
    """Return the configured sources as one, None where there is none."""
    if not config.credentials:
        return None
    return CredentialsByDomain([_served(table, surroundings) for table in config.credentials])


async def check(config: Config, surroundings: Surroundings) -> None:
    """Make every source and let go of it again; raise ConfigError for what cannot be used."""
    for index, table in enumerate(config.credentials):
        url = source_url(table.source)
        try:
            await _check(table, url, surroundings)
        except LookupFailed as error:
            absent = url.scheme == "file" and isinstance(error.__cause__, FileNotFoundError)
            hint = f": `upesi passwd {url.path} USER` makes it" if absent else ""
            raise wrong(f"credentials[{index}].{_key(table, str(error))}", f"{error}{hint}") from error


async def _check(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> None:
    source = _made(table, url, surroundings)
    await source.close()
    if _MODULES[url.scheme] == "stored_sources":
        stored_sources = importlib.import_module("upesi.lookup.stored_sources")
        stored_sources.check(table, url)


def _key(table: CredentialsSettings, error: str) -> str:
    """Return which key of the table an error is about: its text names the file."""
    files = {"secret_file": table.secret_file, "ca_file": table.ca_file}
    return next((key for key, file in files.items() if file and file in error), "source")


def _served(table: CredentialsSettings, surroundings: Surroundings) -> Served:
    source: Source
    try:
        source = _made(table, source_url(table.source), surroundings)
    except LookupFailed as error:
        surroundings.emit("credentials.unavailable", {"source": table.source, "cause": str(error), "times": 1})
        source = _Broken()
    loop, remember = surroundings.loop, float(table.remember)
    guarded = GuardedCredentials(
        source,
        loop,
        name=table.source,
        timeout=float(table.timeout),
        concurrency=table.concurrency,
        cache=AcceptedLogins(remember, loop.time, os.urandom(32)) if remember else None,
        emit=surroundings.emit,
    )
    return Served(frozenset(domain.lower() for domain in table.domains), guarded)


def _made(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> Source:
    try:
        make: Make = importlib.import_module(f"upesi.lookup.{_MODULES[url.scheme]}").make
        return make(table, url, surroundings)
    except ModuleNotFoundError as error:
        raise _Missing(f"{url.scheme}: needs {error.name}, which is not installed: see docs/accounts.md") from None


class _Missing(LookupFailed):
    temporary = False


class _Broken(PasswordJudge):
    """Stands where a source could not be made."""

    __slots__ = ()

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        raise LookupFailed("the source could not be made: see the events of this worker's start")
