"""Credentials over a table that holds hashes: the file, SQLite, PostgreSQL. The password is compared here, in a thread.

A user who is not there costs what the last one cost who was (AUT-04): the same work on the password, thrown away. Tables whose hashes
differ in cost cannot be made equal; `upesi passwd` writes one cost.
"""

from __future__ import annotations

from collections.abc import Collection

from upesi.lookup import scram
from upesi.lookup.accounts import NAME, Account, parse_account, password_matches
from upesi.lookup.failures import LookupFailed
from upesi.lookup.passwords import cost_of, spend
from upesi.lookup.pool import WorkPool
from upesi.lookup.table import Table
from upesi.sasl.credentials import Ability, Identity, Origin, Reason, Refused, ScramKeys, SharedSecret

__all__ = ["StoredCredentials"]


class StoredCredentials:
    """Accounts in `table`; raises LookupFailed, which `guard` makes an answer.

    `kept` is what every account has for mechanisms that show no password.
    """

    __slots__ = ("_pool", "_sample", "_table", "abilities")

    def __init__(self, table: Table, pool: WorkPool, *, kept: Collection[Ability] = ()) -> None:
        self._table = table
        self._pool = pool
        # the last account that was found: what comparing costs here
        self._sample: Account | None = None
        self.abilities = frozenset((Ability.VERIFY, Ability.KNOWN, *kept))

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        """Compare the password with the user's hash, or with nothing at the same price."""
        account = await self._find(user)
        if account is None or not (account.password_hash or account.kept):
            await self._pool.run(_spend_like, self._sample, password)
            return Refused()
        self._sample = account
        if not await self._pool.run(_matches, account, password):
            return Refused()
        return Refused(Reason.DISABLED) if account.disabled else account.identity

    async def stored(self, user: str, ability: Ability, origin: Origin) -> ScramKeys | SharedSecret | Refused | None:
        """Return the user's keys, or password."""
        account = await self._find(user)
        if account is None or account.disabled:
            # the caller makes up keys for both: that an account is disabled is only for whoever knows its password
            return None
        if ability is Ability.SHARED_SECRET:
            return SharedSecret(account.identity, account.secret) if account.secret else None
        return account.scram.get(ability)

    async def known(self, user: str, origin: Origin) -> Identity | Refused:
        """Say whether the table has the user."""
        account = await self._find(user)
        if account is None:
            return Refused()
        return Refused(Reason.DISABLED) if account.disabled else account.identity

    async def close(self) -> None:
        """Let go of the table."""
        await self._table.close()

    async def _find(self, user: str) -> Account | None:
        words = await self._table.get(user)
        if words is None:
            return None
        try:
            # where the table has no spelling of its own: one that is the same for every way to type it
            return parse_account(user.lower(), (word for text in words for word in _split(text)))
        except ValueError as error:
            # not a no: the account is there
            raise LookupFailed(f"a record {error}") from None


def _split(text: str) -> list[str]:
    """Return the words of a value: a column may hold several addresses."""
    return [text] if text.startswith(NAME) else text.split()


def _matches(account: Account, password: str) -> bool:
    try:
        return password_matches(account, password)
    except ValueError as error:
        raise LookupFailed(f"a record {error}") from None


def _spend_like(sample: Account | None, password: str) -> None:
    """Do the work of comparing `sample`'s secret."""
    if sample is None or sample.password_hash:
        spend(cost_of(sample.password_hash) if sample else None, password)
        return
    for ability, keys in sample.scram.items():
        scram.derive(password, keys.salt, keys.iterations, ability)
