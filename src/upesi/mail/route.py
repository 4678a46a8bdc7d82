"""Where a recipient's mail goes: a serialisable, versioned value, kept with each delivery in the spool.

Unknown kinds are refused when they are read, never guessed (QUEUE.md: "a worker claims only formats that it knows").
"""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from upesi.mail.tls import OPPORTUNISTIC, TlsPolicy

__all__ = [
    "ROUTE_VERSION",
    "DiscardRoute",
    "HostRoute",
    "HttpRoute",
    "LmtpRoute",
    "MaildirRoute",
    "MxRoute",
    "PipeRoute",
    "QuarantineRoute",
    "Route",
    "check_route",
    "decode_route",
    "encode_route",
    "relaxing_tls",
    "requiring_tls",
]

ROUTE_VERSION = 1

_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class MxRoute(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="mx"):
    """By the MX records of `domain` (RFC 5321 section 5.1).

    `tls` None means that the configuration says it; `requiretls` is set for mail that came with REQUIRETLS (RFC 8689).
    """

    domain: str
    tls: TlsPolicy | None = None
    requiretls: bool = False

    @property
    def key(self) -> str:
        """What mail whose MX hosts are not known yet waits under: the domain, and what else must not be mixed there."""
        if self.tls is None and not self.requiretls:
            return self.domain
        return self.domain + (f";tls={self.tls.mark}" if self.tls else "") + (";requiretls" if self.requiretls else "")


class HostRoute(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="host"):
    """To one host by SMTP, whatever MX says: fixed route or smarthost. `host` is a name or an address.

    `implicit`: TLS from the first octet (RFC 8314). With a `user`, AUTH is made, inside TLS only; the password is the first line of
    `password_file`, so that no secret is in the queue. `tls` and `requiretls` as for MxRoute.
    """

    host: str
    port: int = 25
    tls: TlsPolicy | None = None
    requiretls: bool = False
    implicit: bool = False
    user: str = ""
    password_file: str = ""


class LmtpRoute(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="lmtp"):
    """To an LMTP server (RFC 2033): `host` and `port`, or the path of a Unix socket in `host` with port 0."""

    host: str
    port: int = 0
    tls: TlsPolicy | None = None
    requiretls: bool = False


class MaildirRoute(msgspec.Struct, frozen=True, gc=False, tag="maildir"):
    """Into the Maildir at `path`, which the router has checked to lie below its root."""

    path: str


class PipeRoute(msgspec.Struct, frozen=True, gc=False, tag="pipe"):
    """To the program that the configuration has under this name: the queue never holds a command. Raises ValueError for what is no name."""

    program: str

    def __post_init__(self) -> None:
        # it is in a queue's key
        if type(self.program) is not str or not _PROGRAM.fullmatch(self.program):
            raise ValueError("the name of a program has letters, digits, '.', '_' and '-', at most 64")


class HttpRoute(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag="http"):
    """To a web service, by POST: https, and plain http on this machine.

    The first line of `password_file` is a bearer token, or with a `user` the password of HTTP Basic; it is not in the queue.
    """

    url: str
    user: str = ""
    password_file: str = ""


class DiscardRoute(msgspec.Struct, frozen=True, gc=False, tag="discard"):
    """Accepted and thrown away, on purpose and with an event that says so."""


class QuarantineRoute(msgspec.Struct, frozen=True, gc=False, tag="quarantine"):
    """Into the queue, and no further until an operator releases it: then by `route`, without one as the configuration says.

    Plugins say this of new mail. It is no `Route`: the spool keeps the state of the delivery, and where it goes then.
    """

    reason: str = "quarantined by a plugin"
    route: Route | None = None


Route = MxRoute | HostRoute | LmtpRoute | MaildirRoute | PipeRoute | HttpRoute | DiscardRoute

# where the way of mail ends; what is asked of TLS is about SMTP, and a service of ours is asked over https anyway
_LOCAL = MaildirRoute | PipeRoute | HttpRoute | DiscardRoute

_KINDS = frozenset(get_args(Route))

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, Route]).decode


def requiring_tls(route: Route) -> Route:
    """Return `route` for mail that came with REQUIRETLS; what does not leave this machine is as it is."""
    if isinstance(route, _LOCAL) or (isinstance(route, LmtpRoute) and not route.port):
        return route
    return msgspec.structs.replace(route, requiretls=True)


def relaxing_tls(route: Route) -> Route:
    """Return `route` for mail that goes in clear where TLS fails (RFC 8689, TLS-Required: No).

    A policy that a plugin has set stands, and so does the one that protects a password of ours.
    """
    if isinstance(route, _LOCAL) or route.tls is not None:
        return route
    if isinstance(route, HostRoute) and route.user:
        return route
    return msgspec.structs.replace(route, tls=OPPORTUNISTIC)


def encode_route(route: Route) -> bytes:
    """Serialise `route` with its version."""
    return _encode((ROUTE_VERSION, route))


def check_route(route: object) -> None:
    """Raise TypeError for what is no route, or has a field of another type (a port that is text): nobody could read it again.

    Plugins make routes, and a struct takes whatever it is given.
    """
    what = f"a {type(route).__name__}"
    if type(route) is QuarantineRoute:
        if type(route.reason) is not str or not route.reason:
            raise TypeError("a QuarantineRoute has a reason, a text")
        route = route.route
        if route is None:
            return
        what = f"{what} to a {type(route).__name__}"
    if type(route) not in _KINDS:
        raise TypeError(f"{what} is no route")
    try:
        same = _decode(_encode((ROUTE_VERSION, route)))[1] == route
    except Exception as error:
        # whatever stands in it: text with half a surrogate, a number without end, an object of the plugin's own
        raise TypeError(f"{what} that cannot be kept: {error}") from None
    if not same:
        raise TypeError(f"{what} that reads otherwise than it was written")


def decode_route(data: bytes) -> Route:
    """Read what `encode_route` wrote; raise ValueError for an unknown version or kind."""
    version, route = _decode(data)
    if version != ROUTE_VERSION:
        raise ValueError(f"route version {version} is not known to this program")
    return route
