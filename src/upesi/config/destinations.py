"""Checks of what is asked of TLS and AUTH on the way out: `[[destination]]`, and the accounts of routes and the smarthost."""

from __future__ import annotations

from collections.abc import Iterator

from upesi.config.problems import KeyPath
from upesi.config.settings import Config, DestinationSettings
from upesi.mail.address import AddressError, domain_from
from upesi.mail.tls import TlsLevel

__all__ = ["check_destinations"]

Found = Iterator[tuple[KeyPath, str]]

# the name of the host as DNS gave it, in `tls_names` (`upesi.client.identity`)
_MX = "mx"


def check_destinations(config: Config) -> Found:
    """Yield the key path of, and the complaint about, everything that is wrong."""
    for index, destination in enumerate(config.destination):
        yield from _destination(destination, ("destination", index))
    for index, route in enumerate(config.route):
        if route.to.startswith(("https:", "http:")) and route.password_file and not route.user:
            # a token, which says itself whose it is
            continue
        remote = route.to.startswith(("smtp:", "smtps:", "https:", "http:"))
        yield from _account(route.user, route.password_file, remote, ("route", index), "")
    delivery = config.delivery
    yield from _account(
        delivery.smarthost_user,
        delivery.smarthost_password_file,
        bool(delivery.smarthost),
        ("delivery",),
        "smarthost_",
    )


def _destination(destination: DestinationSettings, here: KeyPath) -> Found:
    if not destination.domains and not destination.hosts:
        yield (*here, "domains"), "is empty, and so is hosts: this would be about nobody"
    if destination.hosts and destination.tls in (TlsLevel.NONE, TlsLevel.MAY):
        yield (*here, "hosts"), "can only make the policy stricter: encrypt or verify"
    for key, patterns in (("domains", destination.domains), ("hosts", destination.hosts)):
        for position, pattern in enumerate(patterns):
            if pattern != "*" and (problem := _problem(pattern)):
                yield (*here, key, position), f"{pattern!r} {problem}"
    for position, name in enumerate(destination.tls_names):
        if name != _MX and (problem := _problem(name)):
            yield (*here, "tls_names", position), f"{name!r} {problem}"
    if destination.tls is not TlsLevel.VERIFY:
        for key in ("tls_names", "tls_authorities"):
            if getattr(destination, key):
                yield (*here, key), 'says nothing unless tls = "verify"'
    if destination.tls is TlsLevel.NONE and destination.tls_certificate:
        yield (*here, "tls_certificate"), "is never shown without TLS"


def _account(user: str, file: str, remote: bool, here: KeyPath, prefix: str) -> Found:
    if (user or file) and not remote:
        yield (
            (*here, f"{prefix}user" if user else f"{prefix}password_file"),
            "is for smtp://, smtps:// and https:// only",
        )
    elif user and not file:
        yield (*here, f"{prefix}password_file"), f"is missing: what is the password of {prefix}user?"
    elif file and not user:
        yield (*here, f"{prefix}user"), f"is missing: whose password is in {prefix}password_file?"
    elif not (user.isprintable() and len(user) <= 255):
        yield (*here, f"{prefix}user"), "must be one line of at most 255 characters"


def _problem(pattern: str) -> str:
    try:
        domain_from(pattern.removeprefix("."))
    except AddressError as error:
        return f"is no name of a domain: {error}"
    return ""
