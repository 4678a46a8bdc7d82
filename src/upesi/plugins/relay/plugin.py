"""Say which clients may send anywhere. Everything else in the server only reads what is said here: `session.relaying`."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

from upesi.plugin import Plugin, PluginSettings, Session, hook


class Relay(Plugin):
    """Let clients of your own networks relay."""

    class Settings(PluginSettings):
        """Widen this with care: everybody in these networks may send to everybody."""

        networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        networks = [_network(text) for text in settings.networks]
        self._v4 = tuple(network for network in networks if isinstance(network, IPv4Network))
        self._v6 = tuple(network for network in networks if isinstance(network, IPv6Network))
        # 0.0.0.0/1 and 128.0.0.0/1 are all of it too
        if _is_all(collapse_addresses(self._v4)) or _is_all(collapse_addresses(self._v6)):
            raise ValueError("networks: together they are the whole Internet: this would be an open relay")

    @hook.connect
    def recognise(self, session: Session) -> None:
        """Give relaying rights to a client whose address is in one of the networks."""
        try:
            address = ip_address(session.client.address)
        except ValueError:
            return  # a Unix socket has no address: no rights by network
        networks = self._v4 if address.version == 4 else self._v6
        if any(address in network for network in networks):
            session.relaying = True


def _is_all(networks: Iterable[IPv4Network] | Iterable[IPv6Network]) -> bool:
    return any(not network.prefixlen for network in networks)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError as error:
        raise ValueError(f"networks: {error}") from None
    if not network.prefixlen:
        raise ValueError(f"networks: {text} is the whole Internet: this would be an open relay")
    return network
