"""Whether an address leads back to us (RFC 5321 section 5.1): mail for a domain whose MX is ourselves by another name would go in circles.

Names are compared when MX records are read (`upesi.delivery.routing`); here the address is looked at that a connection is about to be
made to. What another machine forwards to us (NAT) cannot be known: trace fields end such loops.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address

__all__ = ["Ourselves", "is_local"]


class Ourselves:
    """Knows our listeners: `listeners` are bound addresses and ports, "0.0.0.0" and "::" stand for all that `local` says are ours."""

    __slots__ = ("_exact", "_local", "_wild")

    def __init__(self, listeners: Iterable[tuple[str, int]], local: Callable[[str], bool]) -> None:
        self._local = local
        bound = [(ip_address(address), port) for address, port in listeners]
        self._exact = frozenset(bound)
        self._wild = frozenset((address.version, port) for address, port in bound if address.is_unspecified)

    def __call__(self, address: str, port: int) -> bool:
        """Say whether a connection to `address` and `port` would be answered by us."""
        try:
            target = ip_address(address)
        except ValueError:
            return False
        if isinstance(target, IPv6Address) and target.ipv4_mapped is not None:
            target = target.ipv4_mapped
        if (target, port) in self._exact:
            return True
        # to the unspecified address Linux connects to loopback
        return (target.version, port) in self._wild and (target.is_unspecified or self._local(str(target)))


def is_local(address: str) -> bool:
    """Whether this machine has `address`. The kernel knows: only such an address can be bound. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
