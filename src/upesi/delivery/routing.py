"""From a route to a destination: the hosts to try, in order, and the site, which is what limits and connections are counted by.

RFC 5321 section 5.1 (MX, implicit MX, finding ourselves), RFC 7505 (null MX). Addresses of the hosts are not looked up here but at
the moment of connecting (`upesi.client.connecting`), where they are judged too.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from os.path import dirname
from typing import Protocol

from upesi.delivery.outcomes import deferred, failed
from upesi.delivery.policies import TlsPolicies
from upesi.dns.cache import TtlCache
from upesi.mail.answers import Answer, MxRecord, Status
from upesi.mail.outcome import Outcome
from upesi.mail.route import DiscardRoute, HostRoute, HttpRoute, LmtpRoute, MaildirRoute, MxRoute, PipeRoute, Route
from upesi.mail.tls import TlsPolicy
from upesi.scheduler.work import Destination, Host, Unroutable

__all__ = ["MxLookup", "MxRouter", "host_of", "own_names"]

# Hosts of one domain that are tried (DNS-04); nobody honest has more
MAX_HOSTS = 20

# Octets of a site key in clear; longer ones are a digest, for the key is in every row of the queue
MAX_SITE = 200

# Seconds for which a domain's site is known without asking, whatever the TTL says: mail that was just accepted should not wait for DNS
MIN_SITE_TTL = 60.0

# Routes to one host whose destination is remembered; those of a configuration are few, those of plugins may be any, and then all are
# forgotten at the bound
MAX_HOPS = 1000

# what the site of a set of MX hosts begins with
_BY_MX = "mx:"

_NULL_MX = failed("5.1.10", "domain does not accept mail (null MX)", code=556)
_NO_DOMAIN = failed("5.1.2", "no such domain")
_NO_HOST = failed("5.1.2", "domain has neither MX records nor an address")
_NO_NAME = failed("5.4.4", "the domain's MX records name no host")
_LOOP = failed("5.4.6", "mail loops back to this server: its MX records lead here")
_TROUBLE = deferred("4.4.3", "DNS did not answer")


# RFC 1123 section 2.1, and the underscore that some write. Anything else is never a host, but could be the text of somebody else's site:
# an exchange "mx1.victim\\,mx2.victim" would put its mail, and what becomes of it, into the victim's queue (OUT-14)
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)


class MxLookup(Protocol):
    """What routing asks of DNS (`upesi.dns.resolver.Resolver`)."""

    async def mx(self, domain: str) -> Answer:
        """Return MX records."""
        ...

    async def addresses(self, name: str) -> Answer:
        """Return A and AAAA records."""
        ...


class MxRouter:
    """The Router of the scheduler. Mail to the same hosts under another TLS policy is another site (`upesi.delivery.policies`).

    `shuffle` puts a list into random order, `now` gives monotonic seconds, `own` are the names by which this server can
    stand in MX records, `port` is 25 except in tests.
    """

    __slots__ = ("_hops", "_lookup", "_own", "_policies", "_port", "_shuffle", "_sites")

    def __init__(
        self,
        lookup: MxLookup,
        shuffle: Callable[[list[Host]], None],
        now: Callable[[], float],
        *,
        own: frozenset[str] = frozenset(),
        port: int = 25,
        policies: TlsPolicies | None = None,
        cache_size: int = 10_000,
    ) -> None:
        self._lookup = lookup
        self._shuffle = shuffle
        self._own = own
        self._policies = policies or TlsPolicies()
        self._port = port
        self._sites: TtlCache[str, str] = TtlCache(cache_size, now)
        # asked for three times with each message, and always the same while the configuration is
        self._hops: dict[HostRoute | LmtpRoute, Destination] = {}

    def site(self, route: Route) -> str | None:
        """Return the queue key of `route` if it is known without asking."""
        if isinstance(route, MxRoute) and not route.domain.startswith("["):
            site = self._sites.get(route.domain)
            return None if site is None else site + self._policies.mark(route)
        return self._fixed(route).site

    def current(self, queue: str, route: Route) -> str:
        """Return the queue where mail that has waited in `queue` belongs now: a policy may have changed meanwhile."""
        if not isinstance(route, MxRoute) or route.domain.startswith("["):
            return self._fixed(route).site
        # what is not known by its MX hosts was resolved by a plugin, or waits to be
        return queue.partition(";")[0] + self._policies.mark(route) if queue.startswith(_BY_MX) else queue

    async def resolve(self, route: Route) -> Destination:
        """Return the destination of `route`; raise Unroutable."""
        if not isinstance(route, MxRoute) or route.domain.startswith("["):
            return self._fixed(route)
        answer = await self._lookup.mx(route.domain)
        records = await self._records(route.domain, answer)
        site = _site(record.exchange for record in records)
        self._sites.put(route.domain, site, max(answer.ttl, MIN_SITE_TTL))
        return Destination(site + self._policies.mark(route), route, self._hosts(records, route))

    def _fixed(self, route: Route) -> Destination:
        """Return the destination of a route that needs no DNS to be understood."""
        if not isinstance(route, (HostRoute, LmtpRoute)):
            return self._understood(route)
        known = self._hops.get(route)
        if known is None:
            if len(self._hops) >= MAX_HOPS:
                self._hops.clear()
            known = self._hops[route] = self._understood(route)
        return known

    def _understood(self, route: Route) -> Destination:
        match route:
            case HostRoute(host, port):
                site = f"host:{host}:{port}{self._policies.mark(route)}"
                return Destination(site, route, (host_of(route, self._policies.policy(route)),))
            case LmtpRoute(host, port):
                site = f"lmtp:{host}:{port}{self._policies.mark(route)}" if port else f"lmtp:{host}"
                return Destination(site, route, (Host(host, port, private=True, tls=self._policies.policy(route)),))
            case MaildirRoute(path):
                # one queue for all mailboxes below one root: they share a disk, not a receiver's limit
                return Destination(f"maildir:{dirname(path)}", route)
            case HttpRoute():
                return Destination(_web_site(route), route)
            case PipeRoute(program):
                return Destination(f"pipe:{program}", route)
            case DiscardRoute():
                return Destination("discard", route)
            case MxRoute(domain):
                # an address literal (RFC 5321 section 4.1.3); strangers may write it, so it is judged like one from DNS,
                # and never shares the queue of a configured host, which is not judged
                address = domain[1:-1].removeprefix("IPv6:")
                site = f"literal:{address}:{self._port}{self._policies.mark(route)}"
                return Destination(site, route, (Host(address, self._port, tls=self._policies.policy(route)),))

    async def _records(self, domain: str, answer: Answer) -> list[MxRecord]:
        """Return the MX records to use, best first, made up where there are none; raise Unroutable."""
        refusal = _REFUSALS.get(answer.status)
        if refusal is not None:
            raise Unroutable(refusal)
        if answer.status is Status.NODATA:
            await self._require_address(domain)
            records = [MxRecord(0, domain)]
        else:
            records = sorted({record for record in answer.mx if _HOST_NAME.fullmatch(record.exchange)})
            if not records:
                raise Unroutable(_NO_NAME if any(record.exchange for record in answer.mx) else _NULL_MX)
        return self._better_than_us(records)[:MAX_HOSTS]

    async def _require_address(self, domain: str) -> None:
        """Raise Unroutable unless `domain` has an address: only then is it its own MX (RFC 5321 section 5.1)."""
        answer = await self._lookup.addresses(domain)
        if answer.status.trouble:
            raise Unroutable(_TROUBLE)
        if not answer.texts:
            raise Unroutable(_NO_HOST)

    def _better_than_us(self, records: list[MxRecord]) -> list[MxRecord]:
        """Drop ourselves and whoever is not better than us (C22); raise Unroutable if nobody is left."""
        ours = min((record.preference for record in records if record.exchange in self._own), default=None)
        if ours is not None:
            records = [record for record in records if record.preference < ours]
        if not records:
            raise Unroutable(_LOOP)
        return records

    def _hosts(self, records: list[MxRecord], route: MxRoute) -> tuple[Host, ...]:
        """Return hosts in the order to try: by preference, equals shuffled (C21)."""
        policies = self._policies
        policy = policies.policy(route)
        hosts: list[Host] = []
        seen: set[str] = set()
        for preference, group in groupby(records, key=attrgetter("preference")):
            names = [record.exchange for record in group if record.exchange not in seen]
            equals = [
                Host(name, self._port, preference, domain=route.domain, tls=policies.at_host(policy, name))
                for name in names
            ]
            self._shuffle(equals)
            hosts += equals
            seen.update(host.name for host in equals)
        return tuple(hosts)


_REFUSALS: dict[Status, Outcome] = {
    Status.NXDOMAIN: _NO_DOMAIN,
    Status.SERVFAIL: _TROUBLE,
    Status.TIMEOUT: _TROUBLE,
}


def _site(hosts: Iterable[str]) -> str:
    """Return the key that all domains with this set of hosts share, whatever their preferences."""
    key = _BY_MX + ",".join(sorted(set(hosts)))
    return key if len(key) <= MAX_SITE else _BY_MX + "#" + hashlib.sha256(key.encode()).hexdigest()[:40]


def _web_site(route: HttpRoute) -> str:
    """Return the key of a web service: its URL where that is short and plain, and whose account is used."""
    account = f";as={route.user}\0{route.password_file}" if route.user or route.password_file else ""
    key = f"http:{route.url}"
    if len(key) > MAX_SITE - 20 or not (route.url.isascii() and route.url.isprintable()):
        return "http:#" + hashlib.sha256((key + account).encode()).hexdigest()[:40]
    return key + (f";as={hashlib.sha256(account.encode()).hexdigest()[:12]}" if account else "")


def host_of(route: HostRoute, policy: TlsPolicy, preference: int = 0) -> Host:
    """Return the host that `route` names; the operator or a plugin wrote it, so it may have a private address."""
    return Host(
        route.host, route.port, preference, private=True,
        tls=policy, implicit=route.implicit, user=route.user, password_file=route.password_file,
    )  # fmt: skip


def own_names(*names: str) -> frozenset[str]:
    """Return `names` as MX records would write them."""
    return frozenset(name.lower().rstrip(".") for name in names if name)
