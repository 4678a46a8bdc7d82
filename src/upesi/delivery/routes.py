"""The routes that the operator wrote: which recipients' mail goes where (`[[route]]` and `delivery.smarthost`).

The first entry that matches wins; without one, mail goes to the smarthost, or by MX. Everything is checked when the table is made,
so that a mistake is found by `upesi config check`, not by mail.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from os.path import abspath, join
from typing import Final

import msgspec

from upesi.config.settings import DeliverySettings, RouteSettings
from upesi.delivery.domains import DomainTable, pattern_from
from upesi.delivery.mailboxes import folder_name
from upesi.http.urls import url_problem
from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.route import DiscardRoute, HostRoute, HttpRoute, LmtpRoute, MaildirRoute, MxRoute, PipeRoute, Route

__all__ = ["RouteError", "RouteTable"]

_Target = Callable[[Address], Route]
_ANYBODY: Final = Address("postmaster", "")

_FORMS: Final = {
    "mx": "mx",
    "smtp": "smtp://HOST:PORT",
    "smtps": "smtps://HOST:PORT",
    "lmtp": "lmtp://HOST:PORT or lmtp:///PATH",
    "maildir": "maildir:FOLDER",
    "pipe": "pipe:PROGRAM",
    "https": "https://HOST/PATH",
    "http": "http://localhost:PORT/PATH",
    "discard": "discard",
}
# Domains whose targets are remembered; a look costs 2 us, so forgetting all of them costs little
_MOST_KNOWN: Final = 10_000
SMTP_PORT: Final = 25
# RFC 8314 section 7.3: submission with TLS from the first octet
SMTPS_PORT: Final = 465


class RouteError(ValueError):
    """A route that cannot be; the text begins with the key of the configuration and says what would be right."""


class RouteTable:
    """Finds the route of an address. `name` is ours: the bare `postmaster` belongs to it (RFC 5321 section 4.5.1)."""

    __slots__ = ("_default", "_known", "_name", "_targets")

    def __init__(self, routes: Sequence[RouteSettings], delivery: DeliverySettings, name: str) -> None:
        self._name = name.lower()
        # by domain: asked for every recipient, and always the same while the configuration is
        self._known: dict[str, _Target] = {}
        self._targets: DomainTable[_Target] = DomainTable()
        for position, entry in enumerate(routes):
            target = _with_account(_target(entry.to, f"route[{position}].to"), entry.user, entry.password_file)
            for domain in entry.domains:
                try:
                    self._targets.add(pattern_from(domain), target)
                except AddressError as error:
                    raise RouteError(f"route[{position}].domains: {error}") from None
        smarthost = delivery.smarthost
        self._default: _Target = _by_mx
        if smarthost:
            self._default = _with_account(
                _smarthost(smarthost), delivery.smarthost_user, delivery.smarthost_password_file
            )

    def route_for(self, address: Address) -> Route:
        """Return where mail for `address` goes."""
        domain = address.domain or self._name
        target = self._known.get(domain)
        if target is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            target = self._known[domain] = self._targets.find(domain) or self._default
        return target(address if address.domain else Address(address.local, domain))


def _target(text: str, key: str) -> _Target:
    """Read the right side of a route."""
    scheme, _, rest = text.partition(":")
    if scheme not in _FORMS:
        near = difflib.get_close_matches(scheme.lower(), _FORMS, n=1, cutoff=0.4)
        hint = f"did you mean {_FORMS[near[0]]}?" if near else "write one of " + ", ".join(_FORMS.values())
        raise RouteError(f'{key}: "{text}" is no route; {hint}')
    try:
        return _READERS[scheme](rest)
    except ValueError as error:
        raise RouteError(f'{key}: "{text}": {error}; write {_FORMS[scheme]}') from None


def _smarthost(text: str) -> _Target:
    key = "delivery.smarthost"
    if not text.startswith(("smtp:", "smtps:")):
        raise RouteError(f'{key}: "{text}" is no smarthost; write {_FORMS["smtp"]} or {_FORMS["smtps"]}')
    return _target(text, key)


def _with_account(target: _Target, user: str, password_file: str) -> _Target:
    """Return `target` with AUTH; only routes that name a host can have an account (`config.destinations`)."""
    route = target(_ANYBODY) if user or password_file else None
    if not isinstance(route, HostRoute | HttpRoute):
        return target
    named = msgspec.structs.replace(route, user=user, password_file=password_file)
    return lambda address: named


def _by_mx(address: Address) -> Route:
    return MxRoute(address.domain)


def _read_mx(rest: str) -> _Target:
    _nothing(rest)
    return _by_mx


def _read_discard(rest: str) -> _Target:
    _nothing(rest)
    route = DiscardRoute()
    return lambda address: route


def _read_smtp(rest: str) -> _Target:
    route = HostRoute(*_host_and_port(rest, SMTP_PORT))
    return lambda address: route


def _read_smtps(rest: str) -> _Target:
    host, port = _host_and_port(rest, SMTPS_PORT)
    route = HostRoute(host, port, implicit=True)
    return lambda address: route


def _read_lmtp(rest: str) -> _Target:
    # RFC 2033 section 5: LMTP must not be spoken on port 25, and has no port of its own
    route = LmtpRoute(rest[2:], 0) if rest.startswith("///") else LmtpRoute(*_host_and_port(rest, None))
    if route.port == SMTP_PORT:
        raise ValueError("LMTP is never spoken on port 25")
    return lambda address: route


def _read_maildir(rest: str) -> _Target:
    if not rest or "\0" in rest:
        raise ValueError("a folder is missing")
    root = abspath(rest)
    return lambda address: MaildirRoute(join(root, folder_name(address.local)))


def _read_pipe(rest: str) -> _Target:
    if not rest:
        raise ValueError("the name of a [[program]] is missing")
    route = PipeRoute(rest)
    return lambda address: route


def _read_https(rest: str) -> _Target:
    return _web_service(f"https:{rest}")


def _read_http(rest: str) -> _Target:
    return _web_service(f"http:{rest}")


def _web_service(url: str) -> _Target:
    if problem := url_problem(url):
        raise ValueError(f"it {problem}")
    route = HttpRoute(url)
    return lambda address: route


_READERS: Final[dict[str, Callable[[str], _Target]]] = {
    "mx": _read_mx,
    "smtp": _read_smtp,
    "smtps": _read_smtps,
    "lmtp": _read_lmtp,
    "maildir": _read_maildir,
    "pipe": _read_pipe,
    "https": _read_https,
    "http": _read_http,
    "discard": _read_discard,
}


def _nothing(rest: str) -> None:
    if rest:
        raise ValueError("nothing may follow")


def _host_and_port(rest: str, default: int | None) -> tuple[str, int]:
    """Read "//HOST:PORT", "//[IPV6]:PORT", and without ":PORT" where there is a default; raise ValueError."""
    if not rest.startswith("//"):
        raise ValueError('"//" is missing')
    text = rest[2:].removesuffix("/")
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(default or "")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError("the port is missing or no number from 1 to 65535")
    return _host(host), int(port)


def _host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        return str(ip_address(host[1:-1]))
    try:
        return str(ip_address(host))
    except ValueError:
        return domain_from(host)
