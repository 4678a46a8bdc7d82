"""What `[[credentials]]` may say: the forms of a source, and which keys mean something for it.

A source decides who is let in. So where it is another machine it is asked over TLS, whose certificate is verified, unless the operator
says that the way is his own (`plaintext`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from types import MappingProxyType
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from upesi.config.problems import KeyPath
from upesi.config.settings import CredentialsSettings
from upesi.mail.address import AddressError, domain_from

__all__ = ["SCHEMES", "SourceUrl", "check_credentials", "is_this_machine", "source_url"]

_TLS = frozenset(("ca_file", "plaintext"))
_KEPT = frozenset(("scram", "scram_sha1", "cram_md5"))
_LDAP = frozenset(("dn", "base", "filter", "bind_dn", "secret_file", "name_attribute", "address_attribute"))
# the keys that only some sources know, by scheme
SCHEMES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "file": _KEPT,
        "sqlite": _KEPT | {"query"},
        "postgresql": _KEPT | {"query", "secret_file"} | _TLS,
        "ldap": _LDAP | _TLS,
        "ldaps": _LDAP | {"ca_file"},
        "dovecot": frozenset(("plaintext",)),
        "http": frozenset(("secret_file",)),
        "https": frozenset(("secret_file", "ca_file")),
        "smtp": frozenset(("ca_file",)),
        "smtps": frozenset(("ca_file",)),
    }
)
_PATHS = ("file", "sqlite")
_PORTS = {"postgresql": 5432, "ldap": 389, "ldaps": 636, "smtp": 587, "smtps": 465, "http": 80, "https": 443}
_FORMS = (
    "file:PATH, sqlite:PATH, postgresql://USER@HOST/DATABASE, ldap://HOST, ldaps://HOST, dovecot:///PATH/TO/SOCKET, "
    "dovecot://HOST:PORT, https://HOST/PATH, smtp://HOST or smtps://HOST"
)
_PLACE = re.compile(r"\{(\w*)\}")


class SourceUrl(msgspec.Struct, frozen=True):
    """A source, taken apart. `path` is that of a file or socket, or a database's name; `host` is empty for files and sockets."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    user: str = ""


def source_url(text: str) -> SourceUrl:
    """Take a source apart; raise ValueError, whose text says what is wrong."""
    scheme, colon, rest = text.partition(":")
    if scheme not in SCHEMES or not colon:
        close = get_close_matches(scheme, SCHEMES, n=1)
        guess = f", did you mean {close[0]}?" if close else "."
        raise ValueError(f"is no source{guess} What can be said here: {_FORMS}")
    if scheme in _PATHS:
        if not rest:
            raise ValueError(f"{scheme}: needs the path of a file behind it")
        return SourceUrl(scheme, path=rest)
    return _from_url(scheme, text)


def _from_url(scheme: str, text: str) -> SourceUrl:
    try:
        parts = urlsplit(text)
        host, port = unquote(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(f"is not of a form that is known: {_FORMS}") from None
    if parts.password is not None:
        raise ValueError("has a password in it, which is shown wherever the configuration is: use secret_file")
    if not text.isprintable() or " " in text or parts.fragment or port == 0:
        raise ValueError(f"is not of a form that is known: {_FORMS}")
    if scheme == "dovecot":
        return _dovecot(parts, host)
    if not host or (parts.query and scheme not in ("http", "https")):
        raise ValueError(f"is not of the form {scheme}://HOST")
    if scheme == "postgresql":
        return _postgresql(parts, host)
    if parts.username is not None or (scheme not in ("http", "https") and parts.path not in ("", "/")):
        raise ValueError(f"is not of the form {scheme}://HOST:PORT")
    return SourceUrl(scheme, host, port or _PORTS[scheme])


def _dovecot(parts: SplitResult, host: str) -> SourceUrl:
    if host and parts.port and parts.path in ("", "/"):
        return SourceUrl("dovecot", host, parts.port)
    if not host and parts.path.startswith("/") and len(parts.path) > 1:
        return SourceUrl("dovecot", path=parts.path)
    raise ValueError("is neither dovecot:///PATH/TO/SOCKET nor dovecot://HOST:PORT")


def _postgresql(parts: SplitResult, host: str) -> SourceUrl:
    database = unquote(parts.path.removeprefix("/"))
    if not database or not parts.username:
        raise ValueError("is not of the form postgresql://USER@HOST/DATABASE")
    return SourceUrl("postgresql", host, parts.port or _PORTS["postgresql"], database, unquote(parts.username))


def is_this_machine(host: str) -> bool:
    """Whether a source's host is this machine by its very name: none, the folder of a socket, "localhost", a loopback address."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_credentials(tables: tuple[CredentialsSettings, ...]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what is wrong with each table."""
    for index, table in enumerate(tables):
        here: KeyPath = ("credentials", index)
        for name in ("timeout", "concurrency"):
            if getattr(table, name) <= 0:
                yield (*here, name), "must be more than 0"
        if table.remember > 600:
            yield (
                (*here, "remember"),
                "is above 10m: so long a changed password and a closed account would go on working",
            )
        yield from _domains(table, here)
        try:
            url = source_url(table.source)
        except ValueError as error:
            yield (*here, "source"), f"{table.source!r} {error}" if "password" not in str(error) else str(error)
        else:
            yield from _source(table, url, here)


def _domains(table: CredentialsSettings, here: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    for position, domain in enumerate(table.domains):
        try:
            domain_from(domain)
        except AddressError as error:
            yield (*here, "domains", position), f"{domain!r} {error}"


def _source(table: CredentialsSettings, url: SourceUrl, here: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    special = frozenset[str]().union(*SCHEMES.values())
    for field in msgspec.structs.fields(table):
        if field.name in special - SCHEMES[url.scheme] and getattr(table, field.name) != field.default:
            yield (*here, field.name), f"means nothing for a source of the kind {url.scheme}:"
    if "query" in SCHEMES[url.scheme] and "$" not in table.query:
        yield (*here, "query"), "must be a query with $1 where the user's name belongs"
    if url.scheme in ("ldap", "ldaps"):
        yield from _ldap(table, here)
    if url.scheme in ("dovecot", "http") and not (is_this_machine(url.host) or table.plaintext):
        hint = "use https" if url.scheme == "http" else "if the way there is your own, say plaintext = true"
        yield (*here, "source"), f"{table.source!r} would carry passwords to another machine for all to read; {hint}"


def _ldap(table: CredentialsSettings, here: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if bool(table.dn) is bool(table.base):
        yield (*here, "dn"), "either dn, or base and filter, must say which entry is the user's"
    if table.base and not table.filter:
        yield (*here, "filter"), "is missing: it must find the user's entry below base"
    for name, text in (("dn", table.dn), ("filter", table.filter)):
        places = set(_PLACE.findall(text))
        if text and not (places and places <= {"user", "local_part", "domain"}):
            yield (*here, name), "must have {user} in it, or {local_part} and {domain}"
    if table.filter and not (table.filter.startswith("(") and table.filter.endswith(")")):
        yield (*here, "filter"), "is not in parentheses"
    if table.secret_file and not table.bind_dn:
        yield (*here, "bind_dn"), "is missing: whose password is in secret_file?"
    # RFC 4513 section 5.1.2: a name without a password is nobody, and servers let nobody in
    if table.bind_dn and not table.secret_file:
        yield (*here, "secret_file"), "is missing: without a password bind_dn would be anonymous"
