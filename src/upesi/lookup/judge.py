"""What sources have in common that try a password elsewhere and keep nothing here."""

from __future__ import annotations

from upesi.lookup.failures import LookupFailed
from upesi.sasl.credentials import Ability, Identity, Origin, Refused

__all__ = ["PasswordJudge"]


class PasswordJudge:
    """Can be asked for Ability.VERIFY only, and holds nothing that must be closed, unless a source says otherwise."""

    __slots__ = ()

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can be asked for."""
        return frozenset({Ability.VERIFY})

    async def stored(self, user: str, ability: Ability, origin: Origin) -> None:
        """Nothing is stored here."""
        raise LookupFailed("nothing is stored here")

    async def known(self, user: str, origin: Origin) -> Identity | Refused:
        """Nobody is known here without a password."""
        raise LookupFailed("nobody is known here without a password")

    async def close(self) -> None:
        """Nothing is held."""
