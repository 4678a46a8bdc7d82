"""How much of the Internet a list of networks lets in: a fence that is open to nearly everybody is hardly meant.

`access` refuses what is too wide where clients would be believed; `doubts` warns of it where they may relay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, collapse_addresses, ip_network
from types import MappingProxyType

from upesi.config.problems import KeyPath

__all__ = ["WIDEST", "gaps"]

# by IP version: nobody was ever given more than a /8, nor more than a /19 of IPv6, to which /16 leaves room. Whatever is wider holds
# strangers, and a list that adds up to more does so too
WIDEST = MappingProxyType({4: 8, 6: 16})
# nobody comes from there who is not ours or our neighbour: RFC 1918, 6598, 3927, 4193, 4291, and this machine
_OWN = tuple(
    map(
        ip_network,
        ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8",
         "fc00::/7", "fe80::/10", "::1/128"),
    )
)  # fmt: skip
# IPv6 networks that hold all of IPv4: mapped addresses (RFC 4291), NAT64 and SIIT (RFC 6052), 6to4 (RFC 3056)
_MAPPED = IPv6Network("::ffff:0:0/96")
_WITHIN = (_MAPPED, IPv6Network("64:ff9b::/96"), IPv6Network("2002::/16"))

Network = IPv4Network | IPv6Network


def gaps(texts: Sequence[object], here: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield what of the networks at `here`, which may relay, lets in more than anybody owns.

    What is no network is complained of by who reads it.
    """
    met: list[Network] = []
    wide = False
    for index, text in enumerate(texts):
        network = _network(text)
        if network is None or _own(network):
            continue
        meant = _meant(network)
        if meant.prefixlen < WIDEST[meant.version]:
            wide = True
            said = text if meant == network else f"{text}, which stands for {meant},"
            yield (*here, index), f"{said} is wider than /{WIDEST[meant.version]}: strangers may send to everybody"
        elif isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            yield (*here, index), f"{text} never counts: clients are called by their IPv4 addresses, write {meant}"
        met.append(meant)
    if not wide and (version := _much(met)):
        yield here, f"together they are more than a /{WIDEST[version]} of IPv{version}: strangers may send to everybody"


def _network(text: object) -> Network | None:
    try:
        return ip_network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _own(network: Network) -> bool:
    # of one version, which is what mypy cannot see
    return any(network.version == own.version and network.subnet_of(own) for own in _OWN)  # type: ignore[arg-type]


def _meant(network: Network) -> Network:
    """Return the IPv4 network that one of IPv6 stands for, else itself."""
    for whole in _WITHIN:
        if isinstance(network, IPv6Network) and network.subnet_of(whole):
            rest = 96 - whole.prefixlen
            first = int(network.network_address) >> rest & 0xFFFFFFFF
            return IPv4Network((IPv4Address(first), min(network.prefixlen - whole.prefixlen, 32)))
    return network


def _much(networks: Sequence[Network]) -> int:
    """Return the IP version of which `networks` together hold more than the widest that anybody owns, 0 where there is none."""
    v4 = collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
    v6 = collapse_addresses(network for network in networks if isinstance(network, IPv6Network))
    if sum(network.num_addresses for network in v4) > 1 << 32 - WIDEST[4]:
        return 4
    return 6 if sum(network.num_addresses for network in v6) > 1 << 128 - WIDEST[6] else 0
