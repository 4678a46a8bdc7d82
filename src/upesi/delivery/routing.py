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
from upesi.dns.answer import Answer, MxRecord, Status
from upesi.dns.cache import TtlCache
from upesi.mail.outcome import Outcome
from upesi.mail.route import DiscardRoute, HostRoute, LmtpRoute, MaildirRoute, MxRoute, Route
from upesi.scheduler.work import Destination, Host, Unroutable

__all__ = ["MxLookup", "MxRouter", "own_names"]

# Hosts of one domain that are tried (DNS-04); nobody honest has more
MAX_HOSTS = 20

# Octets of a site key in clear; longer ones are a digest, for the key is in every row of the queue
MAX_SITE = 200

# Seconds for which a domain's site is known without asking, whatever the TTL says: mail that was just accepted should not wait for DNS
MIN_SITE_TTL = 60.0

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
    """The Router of the scheduler.

    `shuffle` puts a list into random order, `now` gives monotonic seconds, `own` are the names by which this server can
    stand in MX records, `port` is 25 except in tests.
    """

    __slots__ = ("_lookup", "_own", "_port", "_shuffle", "_sites")

    def __init__(
        self,
        lookup: MxLookup,
        shuffle: Callable[[list[Host]], None],
        now: Callable[[], float],
        *,
        own: frozenset[str] = frozenset(),
        port: int = 25,
        cache_size: int = 10_000,
    ) -> None:
        self._lookup = lookup
        self._shuffle = shuffle
        self._own = own
        self._port = port
        self._sites: TtlCache[str, str] = TtlCache(cache_size, now)

    def site(self, route: Route) -> str | None:
        """Return the queue key of `route` if it is known without asking."""
        if isinstance(route, MxRoute) and not route.domain.startswith("["):
            return self._sites.get(route.domain)
        return self._fixed(route).site

    async def resolve(self, route: Route) -> Destination:
        """Return the destination of `route`; raise Unroutable."""
        if not isinstance(route, MxRoute) or route.domain.startswith("["):
            return self._fixed(route)
        answer = await self._lookup.mx(route.domain)
        records = await self._records(route.domain, answer)
        site = _site(record.exchange for record in records)
        self._sites.put(route.domain, site, max(answer.ttl, MIN_SITE_TTL))
        return Destination(site, route, self._hosts(records))

    def _fixed(self, route: Route) -> Destination:
        """Return the destination of a route that needs no DNS to be understood."""
        match route:
            case HostRoute(host, port):
                return Destination(f"host:{host}:{port}", route, (Host(host, port, private=True),))
            case LmtpRoute(host, port):
                site = f"lmtp:{host}:{port}" if port else f"lmtp:{host}"
                return Destination(site, route, (Host(host, port, private=True),))
            case MaildirRoute(path):
                # one queue for all mailboxes below one root: they share a disk, not a receiver's limit
                return Destination(f"maildir:{dirname(path)}", route)
            case DiscardRoute():
                return Destination("discard", route)
            case MxRoute(domain):
                # an address literal (RFC 5321 section 4.1.3); strangers may write it, so it is judged like one from DNS,
                # and never shares the queue of a configured host, which is not judged
                address = domain[1:-1].removeprefix("IPv6:")
                return Destination(f"literal:{address}:{self._port}", route, (Host(address, self._port),))

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

    def _hosts(self, records: list[MxRecord]) -> tuple[Host, ...]:
        """Return hosts in the order to try: by preference, equals shuffled (C21)."""
        hosts: list[Host] = []
        seen: set[str] = set()
        for preference, group in groupby(records, key=attrgetter("preference")):
            equals = [Host(r.exchange, self._port, preference) for r in group if r.exchange not in seen]
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
    key = "mx:" + ",".join(sorted(set(hosts)))
    return key if len(key) <= MAX_SITE else "mx:#" + hashlib.sha256(key.encode()).hexdigest()[:40]


def own_names(*names: str) -> frozenset[str]:
    """Return `names` as MX records would write them."""
    return frozenset(name.lower().rstrip(".") for name in names if name)
