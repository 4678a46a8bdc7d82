"""Which source knows a user: chosen by the domain in the name, so that each password goes to one source only, and nobody learns from the
time that an answer takes which of several was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from upesi.lookup.guard import GuardedCredentials
from upesi.sasl.credentials import Ability, Identity, Origin, Refused, ScramKeys, SharedSecret, Unavailable

__all__ = ["CredentialsByDomain", "Served"]


class Served(msgspec.Struct, frozen=True):
    """A source and the domains it serves, in lower case; none: everybody's."""

    domains: frozenset[str]
    source: GuardedCredentials


class CredentialsByDomain:
    """Several sources as one. A user whom none of them serves is refused: there is nothing to compare, whatever the name."""

    __slots__ = ("_tables", "abilities")

    def __init__(self, tables: Sequence[Served]) -> None:
        self._tables = tuple(tables)
        # what all can do: a mechanism is offered before anybody says who he is
        self.abilities = frozenset(Ability).intersection(*(table.source.abilities for table in tables))

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Ask the user's source whose password this is."""
        source = self._source(user)
        return Refused() if source is None else await source.verify(user, password, origin)

    async def stored(
        self, user: str, ability: Ability, origin: Origin
    ) -> ScramKeys | SharedSecret | Refused | Unavailable | None:
        """Ask the user's source what is stored."""
        source = self._source(user)
        return None if source is None else await source.stored(user, ability, origin)

    async def known(self, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Ask the user's source whether the account is ours."""
        source = self._source(user)
        return Refused() if source is None else await source.known(user, origin)

    async def close(self) -> None:
        """Let go of all sources."""
        await asyncio.gather(*(table.source.close() for table in self._tables))

    def _source(self, user: str) -> GuardedCredentials | None:
        domain = user.rpartition("@")[2].lower() if "@" in user else ""
        for table in self._tables:
            if not table.domains or domain in table.domains:
                return table.source
        return None
