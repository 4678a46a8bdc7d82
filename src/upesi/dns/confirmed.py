"""The forward-confirmed name of an address (RFC 8601 section 3, "iprev"): a PTR record alone is only a claim."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Protocol

from upesi.mail.answers import Answer

__all__ = ["NameLookup", "confirmed_name"]

# RFC 7208 section 5.5 allows ten names for the same question; nobody honest needs more
_MAX_NAMES = 10


class NameLookup(Protocol):
    """What this asks of DNS (`upesi.dns.resolver.Resolver`)."""

    async def ptr(self, address: str) -> Answer:
        """Return PTR records."""
        ...

    async def addresses(self, name: str) -> Answer:
        """Return A and AAAA records."""
        ...


async def confirmed_name(lookup: NameLookup, address: str) -> str | None:
    """Return the first name of `address` that leads back to it, None where there is none or DNS does not say."""
    wanted = ip_address(address)
    claims = await lookup.ptr(address)
    for name in claims.texts[:_MAX_NAMES]:
        found = await lookup.addresses(name)
        if any(ip_address(text) == wanted for text in found.texts):
            return name
    return None
