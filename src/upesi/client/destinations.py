"""Which addresses a stranger's DNS may send us to (DNS-04), asked at the moment of connecting, never earlier (OUT-11).

Whoever controls a domain's MX controls where we connect: without this check, mail to that domain probes and talks to
services on our own machine and network. Routes that the operator wrote are not asked.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

__all__ = ["is_forbidden"]


def is_forbidden(address: str) -> bool:
    """Whether `address`, found in DNS, must not be connected to: not global, multicast, reserved, or not an address at all.

    A mapped IPv4 address has no place in an AAAA record; a 6to4 address is judged by the IPv4 one inside it as well.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return True
    if isinstance(ip, IPv6Address):
        # asked for by name: newer versions of Python judge a mapped address by the one inside it
        return ip.ipv4_mapped is not None or _refused(ip) or (ip.sixtofour is not None and _refused(ip.sixtofour))
    return _refused(ip)


def _refused(ip: IPv4Address | IPv6Address) -> bool:
    # is_global is False for loopback, private, link-local, unspecified, shared (100.64/10) and documentation addresses
    return not ip.is_global or ip.is_multicast or ip.is_reserved
