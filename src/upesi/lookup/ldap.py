"""LDAP as the judge of passwords: a simple bind (RFC 4513 section 5.1.3) with the user's entry, named by a pattern or found by a filter.

The library is python-ldap over libldap. Of the two that are kept up and whose licences fit ours it is the one that lets go of the
interpreter while it waits: bonsai holds it, and a directory that hangs would hold the whole worker (measured: 13 s with a deadline of 1 s).
Every question is a call in a thread of this source's own pool, which has a bound; libldap is given the deadline too.

What a client typed is escaped for the place it goes to (`ldap_text`), and is never a part of the pattern.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import ldap
from ldap.ldapobject import LDAPObject

from upesi.config.accounts import SourceUrl, is_this_machine
from upesi.config.settings import CredentialsSettings
from upesi.lookup.failures import LookupFailed
from upesi.lookup.judge import PasswordJudge
from upesi.lookup.ldap_text import filled
from upesi.lookup.pool import WorkPool
from upesi.lookup.private import read_secret
from upesi.lookup.trust import trusting
from upesi.sasl.credentials import Ability, Identity, Origin, Refused

if TYPE_CHECKING:
    from upesi.lookup.build import Surroundings

__all__ = ["LdapSource", "make"]

# RFC 4511 appendix A: a wrong password; an entry that has none; no such entry
_REFUSALS = (ldap.INVALID_CREDENTIALS, ldap.INAPPROPRIATE_AUTH, ldap.NO_SUCH_OBJECT)
# as libldap numbers it
_TLS_1_2 = 0x303
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
            dn = filled(self._table.dn, user)
            if dn is None:
                return Refused()
            # the server compares names without regard to case and to blanks: one spelling for one account
            found = dn, Identity(" ".join(user.lower().split()))
        else:
            found = self._find(user) or (f"cn={secrets.token_hex(8)},{self._table.base}", Identity(""))
        dn, identity = found
        # for an unknown user too, with an entry that is not there: another round trip less would tell (AUT-04)
        right = self._bind(dn, password)
        return right if isinstance(right, Refused) else identity if identity.name else Refused()

    def _bind(self, dn: str, password: str) -> Refused | None:
        try:
            self._connected(dn, password).unbind_s()
        except _REFUSALS:
            return Refused()
        except ldap.LDAPError as error:
            raise _failed(error) from None
        return None

    def _find(self, user: str) -> tuple[str, Identity] | None:
        """Return the user's entry and account, None where there is none; raise LookupFailed, also for several."""
        sought = filled(self._table.filter, user)
        if sought is None:
            return None
        try:
            found = self._searched(sought)
        except ldap.SIZELIMIT_EXCEEDED:
            raise LookupFailed("the filter finds more than one entry") from None
        except ldap.LDAPError as error:
            raise _failed(error) from None
        # a referral has no name
        entries = [(dn, attributes) for dn, attributes in found if dn]
        if not entries:
            return None
        if len(entries) > 1:
            raise LookupFailed("the filter finds more than one entry")
        dn, attributes = entries[0]
        table = self._table
        names = _texts(attributes, table.name_attribute)
        if not names:
            raise LookupFailed(f"the entry has no {table.name_attribute}")
        return str(dn), Identity(names[0], _texts(attributes, table.address_attribute)[:_MAX_ADDRESSES])

    def _searched(self, sought: str) -> list[tuple[str | None, Mapping[str, list[bytes]]]]:
        table = self._table
        wanted = [name for name in (table.name_attribute, table.address_attribute) if name]
        connection = self._connected(table.bind_dn, self._secret)
        try:
            # two: one more than there may be
            found = connection.search_ext_s(
                table.base,
                ldap.SCOPE_SUBTREE,
                sought,
                wanted,
                timeout=float(table.timeout),
                sizelimit=2,
            )
            return list(found)
        finally:
            connection.unbind_s()

    def _connected(self, dn: str, password: str) -> LDAPObject:
        """Return a connection bound as `dn`, as nobody where it is empty; raise LDAPError."""
        connection = ldap.initialize(self._address)
        for option in (ldap.OPT_NETWORK_TIMEOUT, ldap.OPT_TIMEOUT):
            connection.set_option(option, float(self._table.timeout))
        # the password goes to the server that was configured, and nowhere that it points to
        connection.set_option(ldap.OPT_REFERRALS, 0)
        connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        connection.set_option(ldap.OPT_X_TLS_PROTOCOL_MIN, _TLS_1_2)
        if self._table.ca_file:
            connection.set_option(ldap.OPT_X_TLS_CACERTFILE, self._table.ca_file)
        # must be the last of them: now they count
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        try:
            if self._starttls:
                connection.start_tls_s()
            connection.simple_bind_s(dn, password)
        except BaseException:
            connection.unbind_s()
            raise
        return connection


def _texts(attributes: Mapping[str, list[bytes]], wanted: str) -> tuple[str, ...]:
    """Return the values of an attribute: servers spell its name as they like. Raise LookupFailed for what is no text."""
    values = next((values for name, values in attributes.items() if name.lower() == wanted.lower()), [])
    try:
        texts = tuple(value.decode() for value in values)
    except UnicodeDecodeError:
        raise LookupFailed(f"{wanted} is no text") from None
    if not all(text.isprintable() for text in texts):
        raise LookupFailed(f"{wanted} is no text")
    return texts


def _failed(error: ldap.LDAPError) -> LookupFailed:
    # a server's own words may hold what was asked: the name of the error says enough
    return LookupFailed(type(error).__name__)
