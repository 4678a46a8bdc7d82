"""Which TLS policy a destination has: what its route says, else `[[destination]]`, else the default.

The site of mail with a policy of its own is not the site of other mail to the same hosts: kept connections, which were made under one
policy, are never used under another, and neither are TLS sessions. So each policy has a queue, and the limits of a site, for itself; a
policy is a line of the configuration or a plugin's answer, and there are few.

A policy by MX host can only add: whoever forges DNS chooses the host, and must not choose a weaker policy by that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from upesi.config.settings import DestinationSettings
from upesi.delivery.domains import EVERYTHING, DomainTable, pattern_from
from upesi.mail.route import HostRoute, LmtpRoute, MxRoute
from upesi.mail.tls import OPPORTUNISTIC, TlsLevel, TlsPolicy, stricter

__all__ = ["MAX_MARK", "RemoteRoute", "TlsPolicies", "policy_of"]

# Octets that a policy adds to the key of a site in clear; more become a digest, for the key is in every row of the queue
MAX_MARK = 120

RemoteRoute = MxRoute | HostRoute | LmtpRoute

# what an account is sent over where nobody says otherwise: a password is for one server only (RFC 8314 section 3)
_FOR_SECRETS = TlsPolicy(TlsLevel.VERIFY)


class TlsPolicies:
    """The table of policies."""

    __slots__ = ("_default", "_domains", "_hosts", "plain")

    def __init__(self, destinations: Sequence[DestinationSettings] = ()) -> None:
        self._default = OPPORTUNISTIC
        self._domains: DomainTable[TlsPolicy] = DomainTable()
        self._hosts: DomainTable[TlsPolicy] = DomainTable()
        everything = False
        for entry in destinations:
            policy = policy_of(entry)
            for domain in entry.domains:
                if domain == EVERYTHING and not everything:
                    self._default, everything = policy, True
                elif not everything:
                    # what stands behind "*" matches nothing any more
                    self._domains.add(pattern_from(domain), policy)
            for host in entry.hosts:
                self._hosts.add(pattern_from(host), policy)
        # whether routes that say nothing themselves are all alike
        self.plain = not self._domains and self._default.level is not TlsLevel.VERIFY

    def policy(self, route: RemoteRoute) -> TlsPolicy:
        """Return what holds on the way of `route`, whichever host it leads to."""
        own = self.own(route)
        return self._default if own is None else own

    def at_host(self, policy: TlsPolicy, host: str) -> TlsPolicy:
        """Return `policy`, or the stricter one that a host which DNS named has."""
        more = self._hosts.find(host) if self._hosts else None
        if more is None:
            return policy
        if more.level is TlsLevel.VERIFY and not more.names:
            # the operator's pattern vouches for this name, not the domain that led here
            more = msgspec.structs.replace(more, names=(host,))
        return stricter(policy, more)

    def mark(self, route: RemoteRoute) -> str:
        """Return what tells the site of `route` from others with the same hosts: "" nearly always."""
        if self.plain and type(route) is MxRoute and route.tls is None and not route.requiretls:
            return ""
        policy = self.policy(route)
        parts = [] if policy == self._default else ["tls=" + policy.mark]
        if route.requiretls:
            parts.append("requiretls")
        verified = route.requiretls or policy.level is TlsLevel.VERIFY
        if verified and not policy.names and isinstance(route, MxRoute):
            # the certificate must be for this domain: a connection that was verified for another one proves nothing
            parts.append("for=" + route.domain)
        if isinstance(route, HostRoute):
            if route.implicit:
                parts.append("implicit")
            if route.user:
                parts.append("user=" + _account(route))
        mark = "".join(f";{part}" for part in parts)
        return mark if len(mark) <= MAX_MARK else ";#" + hashlib.sha256(mark.encode()).hexdigest()[:40]

    def own(self, route: RemoteRoute) -> TlsPolicy | None:
        """Return the policy that is this route's; None where the default holds."""
        if route.tls is not None:
            return route.tls
        own = self._domains.find(route.domain if isinstance(route, MxRoute) else _as_domain(route.host))
        if own is None and isinstance(route, HostRoute) and route.user:
            return stricter(self._default, _FOR_SECRETS)
        return own


def policy_of(entry: DestinationSettings) -> TlsPolicy:
    """Return the policy that a table of the configuration says."""
    return TlsPolicy(entry.tls, entry.tls_names, entry.tls_authorities, entry.tls_certificate)


def _account(route: HostRoute) -> str:
    """Name the account in a queue's key: readable where it is a plain name."""
    plain = (
        route.user.isascii() and route.user.isprintable() and len(route.user) <= 64 and not set(route.user) & set(" ;,")
    )
    digest = hashlib.sha256(f"{route.user}\0{route.password_file}".encode()).hexdigest()[:12]
    return f"{route.user}/{digest[:6]}" if plain else digest


def _as_domain(host: str) -> str:
    """Return a host as tables write it: an address is a literal there."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower()
    return f"[{'IPv6:' if address.version == 6 else ''}{address.compressed}]"
