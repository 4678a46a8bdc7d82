"""Lookups that are made of single questions: addresses of both families, names of an address, and which of those are true.

A PTR record is only a claim of whoever has the address (DNS-06): a name counts once it leads back (RFC 8601 section 3, "iprev").
"""

from __future__ import annotations

import asyncio
import re
from ipaddress import IPv4Address, ip_address

from upesi.mail.answers import Answer, Confirmed, Status

__all__ = ["Lookups", "both_families"]

# RFC 7208 section 5.5 allows ten names for the same question; nobody honest needs more
MAX_NAMES = 10

# RFC 1123 section 2.1, and the underscore that some write. A name of anything else is not worth a question, nor a place in a log or header
_HOST_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)


class Lookups:
    """The lookups of `upesi.hooks.asking.Dns`, for whoever has `query`."""

    __slots__ = ()

    async def query(self, name: str, kind: str) -> Answer:
        """Return the records of type `kind` at `name`."""
        raise NotImplementedError

    def known(self, name: str, kind: str) -> Answer | None:
        """Return the answer where it needs no asking."""
        return None

    async def mx(self, domain: str) -> Answer:
        """Return the MX records of `domain`, as DNS ordered them."""
        return await self.query(domain, "MX")

    async def txt(self, name: str) -> Answer:
        """Return the TXT records of `name`."""
        return await self.query(name, "TXT")

    async def ptr(self, address: str) -> Answer:
        """Return the names of `address`; raise ValueError if it is none. They are claims: see `confirmed`."""
        return await self.query(ip_address(address).reverse_pointer, "PTR")

    async def addresses(self, name: str) -> Answer:
        """Return the IPv6 and IPv4 addresses of `name`. Trouble with one family matters only where the other has none."""
        known_six, known_four = self.known(name, "AAAA"), self.known(name, "A")
        if known_six is None and known_four is None:
            six, four = await asyncio.gather(self.query(name, "AAAA"), self.query(name, "A"))
        else:
            six = known_six or await self.query(name, "AAAA")
            four = known_four or await self.query(name, "A")
        return both_families(six, four)

    async def confirmed(self, address: str) -> Confirmed:
        """Return the names of `address` that lead back to it; raise ValueError if it is none."""
        wanted = ip_address(address)
        claims = await self.ptr(address)
        hosts = [name for name in dict.fromkeys(claims.texts) if _HOST_NAME.fullmatch(name)][:MAX_NAMES]
        if not hosts:
            return Confirmed(claims.status if not claims.texts else Status.NODATA, (), claims.texts)
        kind = "A" if isinstance(wanted, IPv4Address) else "AAAA"
        # one name is what nearly everybody has, and needs no task
        found = (
            [await self.query(hosts[0], kind)]
            if len(hosts) == 1
            else await asyncio.gather(*(self.query(host, kind) for host in hosts))
        )
        names = tuple(
            host
            for host, answer in zip(hosts, found, strict=True)
            if any(ip_address(text) == wanted for text in answer.texts)
        )
        if names:
            return Confirmed(Status.OK, names, claims.texts)
        trouble = next((answer.status for answer in found if answer.status.trouble), Status.NODATA)
        return Confirmed(trouble, (), claims.texts)


def both_families(six: Answer, four: Answer) -> Answer:
    """Return the addresses of two answers as one."""
    if not four.texts:
        return four if not (six.texts or six.status.trouble) else six
    if not six.texts:
        return four
    return Answer(
        Status.OK,
        texts=six.texts + four.texts,
        ttl=min(six.ttl, four.ttl),
        # both must be secure for the set to be
        security=four.security if six.secure else six.security,
        name=four.name,
        stale=six.stale or four.stale,
    )
