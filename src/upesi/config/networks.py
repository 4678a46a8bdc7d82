"""Lists of networks as people write them: "192.0.2.0/24", "2001:db8::/32", or a single address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

__all__ = ["Networks", "network"]

# the clients of a list that are remembered: a proxy and its neighbours are few, and asked about for every connection
_REMEMBERED = 256


def network(text: str) -> IPv4Network | IPv6Network:
    """Return the network; raise ValueError where it is none, or has bits behind its prefix."""
    found = ip_network(text)
    # what a client on an IPv6 socket is called has been unmapped by then, so such a network would never match
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped and found.prefixlen >= 96:
        raise ValueError(f"{text} means an IPv4 network: write that")
    return found


class Networks:
    """Some networks. `address in networks` for an address in its usual spelling; what is no address is in none."""

    __slots__ = ("_contains", "_parts")

    def __init__(self, texts: Iterable[str]) -> None:
        self._parts = tuple(map(network, texts))
        self._contains = lru_cache(_REMEMBERED)(self._search)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __contains__(self, address: str) -> bool:
        return bool(self._parts) and self._contains(address)

    def overlap(self, others: Networks) -> bool:
        """Whether an address can be in both."""
        return any(_overlaps(part, other) for part in self._parts for other in others._parts)

    def _search(self, address: str) -> bool:
        try:
            found = ip_address(address)
        except ValueError:
            # a Unix socket, or a proxy that does not know: no rights by network
            return False
        return _within(found, self._parts)


def _within(address: IPv4Address | IPv6Address, parts: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in part for part in parts if part.version == address.version)


def _overlaps(one: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and one.overlaps(other)
    return isinstance(other, IPv6Network) and one.overlaps(other)
