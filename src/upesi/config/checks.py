"""Checks that need more than one value, or more than a type: they are made once, when every value has its type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path

from upesi.config.access import check_access
from upesi.config.accounts import check_credentials
from upesi.config.authentication import check_auth
from upesi.config.bounds import check_bounds
from upesi.config.destinations import check_destinations
from upesi.config.problems import KeyPath
from upesi.config.programs import check_programs
from upesi.config.settings import ClientCertificates, Config, ListenerSettings, ListenerTls, Role
from upesi.mail.address import Address, AddressError, domain_from

__all__ = ["cross_check"]

Found = Iterator[tuple[KeyPath, str]]

_DAY = 86_400
# without these at 1 or more nothing could be accepted or sent
_POSITIVE: tuple[KeyPath, ...] = (
    ("spool", "inline_limit"), ("spool", "history"),
    ("smtp", "max_message_size"), ("smtp", "max_recipients"), ("smtp", "soft_errors"), ("smtp", "hard_errors"),
    ("smtp", "max_idle_commands"), ("smtp", "max_commands"), ("smtp", "min_rate_after"),
    ("smtp", "timeouts", "command"), ("smtp", "timeouts", "data_block"), ("smtp", "timeouts", "session"),
    ("smtp", "timeouts", "handshake"), ("smtp", "timeouts", "proxy"),
    ("smtp", "max_header_size"), ("smtp", "max_header_fields"),
    ("tls", "watch"), ("tls", "max_handshakes"), ("tls", "max_client_handshakes"),
    ("delivery", "site_connections"), ("delivery", "connections"), ("delivery", "connection_messages"),
    ("delivery", "transaction_recipients"), ("delivery", "expire"), ("delivery", "memory_deliveries"),
    ("dns", "timeout"), ("dns", "cache_size"),
    ("auth", "timeout"), ("auth", "max_failures"),
)  # fmt: skip
_HOST_PORT = re.compile(r"(smtps?|lmtp)://(\[[0-9A-Fa-f:.]+\]|[^/:\[\]]+)(?::(\d{1,5}))?/?")
_SMTP_PORT = 25
_SCHEMES = ("mx", "smtp", "smtps", "lmtp", "maildir", "pipe", "https", "http", "discard")
_FORMS = (
    "mx, smtp://HOST:PORT, smtps://HOST:PORT, lmtp://HOST:PORT, lmtp:///PATH/TO/SOCKET, maildir:FOLDER, pipe:NAME, "
    "https://HOST/PATH or discard"
)


def cross_check(config: Config) -> Found:
    """Yield the key path of, and the complaint about, everything that is wrong in a configuration whose types are right."""
    for path in _POSITIVE:
        if _at(config, path) <= 0:
            yield path, "must be more than 0"
    yield from _node(config)
    yield from _listeners(config)
    yield from check_access(config)
    yield from check_bounds(config)
    yield from _routes(config)
    yield from check_programs(config)
    yield from check_destinations(config)
    yield from _delivery(config)
    yield from _servers(config)
    yield from check_credentials(config.credentials)
    yield from check_auth(config.auth)
    yield from _plugins(config)
    yield from _reports(config)


def _at(value: object, path: KeyPath) -> float:
    for part in path:
        value = getattr(value, str(part))
    assert isinstance(value, (int, float))
    return value


def _node(config: Config) -> Found:
    if config.node.workers < 0:
        yield ("node", "workers"), "cannot be negative (0: one per processor)"
    if _domain_problem(config.node.name):
        yield ("node", "name"), f"{config.node.name!r} {_domain_problem(config.node.name)}"
    if config.smtp.soft_errors > config.smtp.hard_errors:
        yield ("smtp", "soft_errors"), "is above hard_errors, so it would never count"


def _listeners(config: Config) -> Found:
    if not config.listener:
        yield ("listener",), "there is none: nothing could be received"
    seen: dict[tuple[str, int], int] = {}
    for index, listener in enumerate(config.listener):
        here: KeyPath = ("listener", index)
        yield from _address(listener.address, (*here, "address"))
        yield from _port(listener.port, (*here, "port"))
        yield from _tls(listener, here)
        for name in ("max_sessions", "backlog"):
            if getattr(listener, name) <= 0:
                yield (*here, name), "must be more than 0"
        if listener.role is Role.LMTP and listener.port == _SMTP_PORT:
            yield (*here, "role"), "RFC 2033 keeps lmtp off port 25, where SMTP is expected"
        first = seen.setdefault((listener.address, listener.port), index)
        # port 0 asks the kernel for a free one: two of them never meet
        if first != index and listener.port:
            yield here, f"{_socket(listener)} is already listener[{first}]"
    yield from _metrics(config)


def _tls(listener: ListenerSettings, here: KeyPath) -> Found:
    asks = listener.client_certificates is not ClientCertificates.IGNORE
    if asks and listener.tls is ListenerTls.NONE:
        yield (*here, "client_certificates"), "needs tls: a client shows its certificate in the handshake"
    if asks and not listener.client_authorities:
        yield (*here, "client_authorities"), "is missing: without it anybody's certificate would do"


def _metrics(config: Config) -> Found:
    metrics = config.metrics
    yield from _address(metrics.address, ("metrics", "address"))
    yield from _port(metrics.port, ("metrics", "port"))
    for index, listener in enumerate(config.listener):
        if metrics.port and (metrics.address, metrics.port) == (listener.address, listener.port):
            yield ("metrics", "port"), f"{_socket(listener)} is already listener[{index}]"


def _socket(listener: ListenerSettings) -> str:
    return f"{listener.address} port {listener.port}"


def _routes(config: Config) -> Found:
    for index, route in enumerate(config.route):
        here: KeyPath = ("route", index)
        if not route.domains:
            yield (*here, "domains"), "is empty, so nothing would go this way"
        for position, domain in enumerate(route.domains):
            problem = domain != "*" and _domain_problem(domain.removeprefix("."))
            if problem:
                yield (*here, "domains", position), f"{domain!r} {problem}"
        problem = _route_problem(route.to)
        if problem:
            yield (*here, "to"), problem


def _route_problem(to: str) -> str:
    scheme, _, rest = to.partition(":")
    if scheme not in _SCHEMES:
        close = get_close_matches(scheme, _SCHEMES, n=1)
        guess = f", did you mean {close[0]}?" if close else ";"
        return f"{to!r} is no way to go{guess} What can be said here: {_FORMS}"
    if scheme in ("mx", "discard"):
        return f"{scheme!r} takes nothing behind it" if rest or to != scheme else ""
    if scheme == "maildir":
        return "" if rest else "maildir: needs a folder behind it"
    if scheme in ("https", "http"):
        # what is wrong with a URL is known where it is read (`delivery.routes`)
        return ""
    if scheme == "pipe":
        return "" if rest else "pipe: needs the name of a [[program]] behind it"
    if to.startswith("lmtp:///"):
        return "" if len(to) > len("lmtp:///") else "lmtp:/// needs the path of a socket behind it"
    return _host_port_problem(to, scheme)


def _host_port_problem(to: str, scheme: str) -> str:
    match = _HOST_PORT.fullmatch(to)
    if match is None:
        return f"{to!r} is not of the form {scheme}://HOST:PORT"
    if match[3] and not 0 < int(match[3]) < 65536:
        return f"port {match[3]} is not between 1 and 65535"
    try:
        ip_address(match[2].strip("[]"))
    except ValueError:
        return f"{match[2]!r} {problem}" if (problem := _domain_problem(match[2])) else ""
    return ""


def _delivery(config: Config) -> Found:
    delivery = config.delivery
    if delivery.smarthost and (problem := _smarthost_problem(delivery.smarthost)):
        yield ("delivery", "smarthost"), problem
    if not delivery.retry:
        yield ("delivery", "retry"), "is empty: a deferred message would never be tried again"
    for index, wait in enumerate(delivery.retry):
        if wait <= 0:
            yield ("delivery", "retry", index), "must be more than 0: a deferred message would be tried without rest"
    # above 1 the spread would be wider than the wait, and a message could be overtaken by its own next try
    if not 0 <= delivery.jitter <= 1:
        yield ("delivery", "jitter"), "must be between 0 and 1"
    if not 0 < delivery.port < 65536:
        yield ("delivery", "port"), f"port {delivery.port} is not between 1 and 65535"


def _smarthost_problem(smarthost: str) -> str:
    if not smarthost.startswith(("smtp:", "smtps:")):
        return f"{smarthost!r} is not of the form smtp://HOST:PORT or smtps://HOST:PORT"
    return _host_port_problem(smarthost, smarthost.partition(":")[0])


def _servers(config: Config) -> Found:
    for key in ("cache_size", "max_per_message"):
        if getattr(config.dns, key) < 1:
            yield ("dns", key), "must be at least 1"
    for key in ("timeout", "message_timeout"):
        if getattr(config.dns, key) <= 0:
            yield ("dns", key), "must be more than 0"
    for index, server in enumerate(config.dns.servers):
        here: KeyPath = ("dns", "servers", index)
        host, colon, port = server.rpartition(":")
        # "::1" and "2001:db8::1" are addresses without a port
        if not colon or (":" in host and not host.endswith("]")):
            host, port = server, ""
        yield from _address(host.removeprefix("[").removesuffix("]"), here)
        if port and not (port.isdigit() and 0 < int(port) < 65536):
            yield here, f"port {port!r} is not between 1 and 65535"


def _plugins(config: Config) -> Found:
    plugins = config.plugins
    for index, name in enumerate(plugins.enabled):
        if name in plugins.enabled[:index]:
            yield ("plugins", "enabled", index), f"{name!r} is named twice"
    for name in plugins.settings:
        # settings of a plugin that is switched off are fine; a misspelt table would be ignored in silence
        close = get_close_matches(name, plugins.enabled, n=1, cutoff=0.8)
        if name not in plugins.enabled and close:
            yield ("plugins", name), f"no plugin {name!r} is enabled, but {close[0]!r} is: one of the names is wrong"
    if plugins.folder and Path(plugins.folder).is_file():
        yield ("plugins", "folder"), f"{plugins.folder} is a file, not a folder"


def _reports(config: Config) -> Found:
    try:
        if config.reports.sender:
            Address.parse(config.reports.sender)
    except AddressError as error:
        yield ("reports", "sender"), f"{config.reports.sender!r} is no address: {error}"
    # later than that a day's rows would be forgotten before they are sent
    if config.reports.spread > _DAY:
        yield ("reports", "spread"), "cannot be more than a day"
    for name in ("failures_of_domain", "failures_to_destination", "failures"):
        if not getattr(config.reports, name).count:
            # RFC 9991 section 2: a MUST
            yield ("reports", name), "needs a limit: forgers choose how much there is to report"


def _address(address: str, path: KeyPath) -> Found:
    try:
        ip_address(address)
    except ValueError:
        yield path, f"{address!r} is not an IP address such as 127.0.0.1, 0.0.0.0 (all) or ::"


def _port(port: int, path: KeyPath) -> Found:
    if not 0 <= port < 65536:
        yield path, f"port {port} is not between 0 and 65535"


def _domain_problem(name: str) -> str:
    try:
        domain_from(name)
    except AddressError as error:
        return f"is no name of a domain: {error}"
    return ""
