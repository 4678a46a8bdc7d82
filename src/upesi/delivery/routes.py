"""The routes that the operator wrote: which recipients' mail goes where (`[[route]]` and `delivery.smarthost`).

The first entry that matches wins; without one, mail goes to the smarthost, or by MX. Everything is checked when the table is made,
so that a mistake is found by `upesi config check`, not by mail.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from os.path import abspath, join

from upesi.config.settings import RouteSettings
from upesi.delivery.mailboxes import folder_name
from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.route import DiscardRoute, HostRoute, LmtpRoute, MaildirRoute, MxRoute, Route

__all__ = ["RouteError", "RouteTable"]

_Target = Callable[[Address], Route]

_FORMS = {
    "mx": "mx",
    "smtp": "smtp://HOST:PORT",
    "lmtp": "lmtp://HOST:PORT or lmtp:///PATH",
    "maildir": "maildir:FOLDER",
    "discard": "discard",
}
_EVERYTHING = "*"
SMTP_PORT = 25


class RouteError(ValueError):
    """A route that cannot be; the text begins with the key of the configuration and says what would be right."""


class RouteTable:
    """Finds the route of an address. `name` is ours: the bare `postmaster` belongs to it (RFC 5321 section 4.5.1)."""

    __slots__ = ("_default", "_name", "_targets")

    def __init__(self, routes: Sequence[RouteSettings], smarthost: str, name: str) -> None:
        self._name = name.lower()
        # pattern -> (position, target); a lower position wins
        self._targets: dict[str, tuple[int, _Target]] = {}
        for position, entry in enumerate(routes):
            target = _target(entry.to, f"route[{position}].to")
            for domain in entry.domains:
                self._targets.setdefault(_pattern(domain, f"route[{position}].domains"), (position, target))
        self._default = _smarthost(smarthost) if smarthost else _by_mx

    def route_for(self, address: Address) -> Route:
        """Return where mail for `address` goes."""
        domain = address.domain or self._name
        if not self._targets:
            return self._default(Address(address.local, domain))
        found = [self._targets[key] for key in _keys(domain) if key in self._targets]
        target = min(found, key=_position)[1] if found else self._default
        return target(Address(address.local, domain))


def _position(entry: tuple[int, _Target]) -> int:
    return entry[0]


def _keys(domain: str) -> Iterator[str]:
    """Yield every pattern that matches `domain`: itself, each domain above it with its dot, everything."""
    yield domain
    dot = domain.find(".") if not domain.startswith("[") else -1
    while dot >= 0:
        yield domain[dot:]
        dot = domain.find(".", dot + 1)
    yield _EVERYTHING


def _pattern(text: str, key: str) -> str:
    if text == _EVERYTHING:
        return text
    dot = "." if text.startswith(".") else ""
    try:
        return dot + domain_from(text.removeprefix("."))
    except AddressError as error:
        raise RouteError(f'{key}: "{text}": {error}; write "example.com", ".example.com" or "*"') from None


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
    if not text.startswith("smtp:"):
        raise RouteError(f'{key}: "{text}" is no smarthost; write {_FORMS["smtp"]}')
    return _target(text, key)


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


_READERS: dict[str, Callable[[str], _Target]] = {
    "mx": _read_mx,
    "smtp": _read_smtp,
    "lmtp": _read_lmtp,
    "maildir": _read_maildir,
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
