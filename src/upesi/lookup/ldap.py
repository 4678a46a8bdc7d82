"""LDAP as the judge of passwords: a simple bind (RFC 4513 section 5.1.3) with the user's entry, named by a pattern or found by a filter.

The library is bonsai over libldap, the only well-kept one whose licence fits ours. Its asynchronous mode is not safe while a server cannot
be reached, so every question is a call in a thread of this source's own pool, which has a bound; libldap is given the deadline too.

What a client typed is escaped for the place it goes to (`ldap_text`), and is never a part of the pattern.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import bonsai

from upesi.config.accounts import SourceUrl, is_this_machine
from upesi.config.settings import CredentialsSettings
from upesi.lookup.failures import LookupFailed
from upesi.lookup.judge import PasswordJudge
from upesi.lookup.ldap_text import filled
from upesi.lookup.pool import WorkPool
from upesi.lookup.private import read_secret
from upesi.lookup.trust import trusting
from upesi.sasl.credentials import Ability, Identity, Origin, Reason, Refused

if TYPE_CHECKING:
    from upesi.lookup.build import Surroundings

__all__ = ["LdapSource", "make"]

# RFC 4511 appendix A: invalidCredentials; an entry that has no password (inappropriateAuthentication); no such entry
_REFUSED_CODES = frozenset((49, 48, 32))
_MAX_ADDRESSES = 1_000


def make(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> LdapSource:
    """Return the source; raise LookupFailed."""
    secret = read_secret(Path(table.secret_file)) if table.secret_file else ""
    trusting(table)  # tried now, so that a wrong file is told at the start
    # the guard lets no more in at once; what hangs beyond its deadline keeps its thread
    pool = WorkPool(surroundings.loop, "ldap", threads=table.concurrency, waiting=0)
    return LdapSource(table, url, secret, pool)


class LdapSource(PasswordJudge):
    """Raises LookupFailed, which `guard` makes an answer. `secret` is the password of `bind_dn`."""

    __slots__ = ("_address", "_pool", "_secret", "_starttls", "_table")

    def __init__(self, table: CredentialsSettings, url: SourceUrl, secret: str, pool: WorkPool) -> None:
        self._table = table
        self._secret = secret
        self._pool = pool
        host = f"[{url.host}]" if ":" in url.host else url.host
        self._address = f"{url.scheme}://{host}:{url.port}"
        self._starttls = url.scheme == "ldap" and not (is_this_machine(url.host) or table.plaintext)

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it can be asked for: a pattern finds nobody without the password, a filter does."""
        return frozenset({Ability.VERIFY} | ({Ability.KNOWN} if self._table.base else set()))

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        """Bind with the user's entry."""
        return await self._pool.run(self._verify, user, password)

    async def known(self, user: str, origin: Origin) -> Identity | Refused:
        """Look for the user's entry."""
        found = await self._pool.run(self._find, user)
        return Refused() if found is None else found[1]

    async def close(self) -> None:
        """Let threads end."""
        self._pool.close()

    # -- in a thread

    def _verify(self, user: str, password: str) -> Identity | Refused:
        if not password:
            # RFC 4513 section 5.1.2: a name without a password is a success that says nothing
            return Refused()
        if self._table.dn:
            # the server compares names without regard to case and to blanks: one spelling for one account
            found = filled(self._table.dn, user), Identity(" ".join(user.lower().split()))
        else:
            found = self._find(user) or (f"cn={secrets.token_hex(8)},{self._table.base}", Identity(""))
        dn, identity = found
        # for an unknown user too, with an entry that is not there: another round trip less would tell (AUT-04)
        right = self._bind(dn, password)
        return right if isinstance(right, Refused) else identity if identity.name else Refused()

    def _bind(self, dn: str, password: str) -> Refused | None:
        try:
            self._connected(dn, password).close()
        except bonsai.PasswordExpired:
            return Refused(Reason.EXPIRED)
        except bonsai.AccountLocked:
            return Refused(Reason.DISABLED)
        except bonsai.LDAPError as error:
            if error.code in _REFUSED_CODES:
                return Refused()
            raise _failed(error) from None
        return None

    def _find(self, user: str) -> tuple[str, Identity] | None:
        """Return the user's entry and account, None where there is none; raise LookupFailed, also for several."""
        table = self._table
        wanted = [name for name in (table.name_attribute, table.address_attribute) if name]
        try:
            with self._connected(table.bind_dn, self._secret) as connection:
                entries = connection.search(
                    table.base,
                    bonsai.LDAPSearchScope.SUB,
                    filled(table.filter, user),
                    wanted,
                    timeout=float(table.timeout),
                    # one more than there may be
                    sizelimit=2,
                )
        except bonsai.LDAPError as error:
            raise _failed(error) from None
        if not entries:
            return None
        if len(entries) > 1:
            raise LookupFailed("the filter finds more than one entry")
        entry = entries[0]
        names = [str(value) for value in entry.get(table.name_attribute, ())]
        if not names:
            raise LookupFailed(f"the entry has no {table.name_attribute}")
        addresses = entry.get(table.address_attribute, ()) if table.address_attribute else ()
        return str(entry.dn), Identity(names[0], tuple(map(str, addresses))[:_MAX_ADDRESSES])

    def _connected(self, dn: str, password: str) -> bonsai.LDAPConnection:
        """Return a connection bound as `dn`, as nobody where it is empty; raise LDAPError."""
        client = bonsai.LDAPClient(self._address, self._starttls)
        client.set_cert_policy("demand")
        if self._table.ca_file:
            client.set_ca_cert(self._table.ca_file)
        # the password goes to the server that was configured, and nowhere that it points to
        client.set_server_chase_referrals(False)
        client.set_ignore_referrals(True)
        if dn:
            client.set_credentials("SIMPLE", user=dn, password=password)
        connection = client.connect(timeout=float(self._table.timeout))
        assert isinstance(connection, bonsai.LDAPConnection)
        return connection


def _failed(error: bonsai.LDAPError) -> LookupFailed:
    # a server's own words may hold what was asked: the number says enough
    return LookupFailed(f"{type(error).__name__} ({error.code})")
