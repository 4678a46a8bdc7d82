"""What one client may do, over all its sessions and all workers of the machine (FLD-02): `[limits]`.

A client is a network: one IPv4 address, an IPv6 /64. Networks that are exempt have no name here (b""), and cost one test of it. The
counts are `store.counters`; they are looked at where something is about to be allowed, so what is over a limit is never begun. A
refusal is temporary always: who is refused may be many, behind one address, or honest and in haste.

Each refusal is counted; the event `client.limited` tells of a network and a limit once in a while, since who can cause events could fill
the disk (FLD-12).
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from upesi.config.settings import LimitsSettings
from upesi.config.units import Rate
from upesi.mail.reply import Reply
from upesi.session import replies
from upesi.store.counters import Counters

__all__ = ["LIMITS", "Clients"]

# which limits there are, as events and metrics call them
LIMITS: Final = ("connections", "connection_rate", "messages", "recipients", "errors", "unknown_recipients", "notices")

# networks that are remembered: finding one costs 3 us, and clients come again
_MAX_KNOWN: Final = 4096
# events of one limit of one network, over all workers
_TOLD: Final = Rate("1/1m")

Address = IPv4Address | IPv6Address


class Clients:
    """The limits of one worker's clients. `refused` counts refusals by limit, for ever."""

    __slots__ = ("_counters", "_emit", "_exempt", "_known", "_prefixes", "_settings", "refused")

    def __init__(
        self, counters: Counters, settings: LimitsSettings, emit: Callable[[str, dict[str, object]], None]
    ) -> None:
        self._counters = counters
        self._settings = settings
        self._emit = emit
        self._exempt = tuple(ip_network(network, strict=False) for network in settings.exempt)
        self._prefixes = {4: settings.ipv4_prefix, 6: settings.ipv6_prefix}
        self._known: dict[str, bytes] = {}
        self.refused = dict.fromkeys(LIMITS, 0)

    def network(self, address: str) -> bytes:
        """Return the name of the client at `address` in keys and events; b"" where no limit applies to it (also on a Unix socket)."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[address] = self._name(address)
        return known

    def _name(self, address: str) -> bytes:
        if not address:
            return b""
        try:
            # the zone of a link-local address is ours, and says nothing of the client
            ip = ip_address(address.partition("%")[0])
        except ValueError:
            # whom somebody in front of us could not name
            return b""
        # a proxy may write IPv4 so, and all of it would be one /64
        if ip.version == 6 and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        if any(ip in network for network in self._exempt):
            return b""
        return str(ip_network((ip, self._prefixes[ip.version]), strict=False)).encode()

    # -- connections

    def enter(self, network: bytes, listener: str) -> Reply | None:
        """Count a connection that opens; the reply that refuses it, else None: then `leave` must follow."""
        settings, counters = self._settings, self._counters
        key = b"errors:" + network
        if settings.errors.count and counters.spent(key, settings.errors) > settings.errors.count:
            return self._refuse("errors", network, replies.TOO_MANY_CLIENT_ERRORS, listener)
        if not counters.hold(b"connections:" + network, settings.connections):
            return self._refuse("connections", network, replies.TOO_MANY_CONNECTIONS, listener)
        if not counters.take(b"connection_rate:" + network, settings.connection_rate):
            self.leave(network)
            return self._refuse("connection_rate", network, replies.TOO_FAST_CONNECTIONS, listener)
        return None

    def leave(self, network: bytes) -> None:
        """Count a connection that closes."""
        self._counters.release(b"connections:" + network)

    # -- commands

    def mail(self, network: bytes, listener: str) -> Reply | None:
        """Count a transaction that begins; the reply that refuses it, else None."""
        if self._counters.take(b"messages:" + network, self._settings.messages):
            return None
        return self._refuse("messages", network, replies.TOO_MANY_MESSAGES, listener)

    def rcpt(self, network: bytes, listener: str) -> Reply | None:
        """Count a RCPT; the reply that refuses it, else None."""
        settings, counters = self._settings, self._counters
        if not counters.take(b"recipients:" + network, settings.recipients):
            return self._refuse("recipients", network, replies.TOO_MANY_RECIPIENTS_NOW, listener)
        unknown = settings.unknown_recipients
        if unknown.count and counters.spent(b"unknown_recipients:" + network, unknown) >= unknown.count:
            return self._refuse("unknown_recipients", network, replies.TOO_MANY_UNKNOWN, listener)
        return None

    def notice(self, network: bytes, listener: str) -> Reply | None:
        """Count a RCPT of a stranger that asks for a notice of success; the reply that refuses it, else None (DSN-01)."""
        if self._counters.take(b"notices:" + network, self._settings.notices):
            return None
        return self._refuse("notices", network, replies.TOO_MANY_NOTICES, listener)

    def erred(self, network: bytes, reply: Reply, listener: str) -> Reply | None:
        """Count a 5xx `reply`; the reply that is to end the session, else None."""
        if reply.status == "5.1.1":
            self._counters.add(b"unknown_recipients:" + network, self._settings.unknown_recipients)
        if self._counters.add(b"errors:" + network, self._settings.errors):
            return None
        return self._refuse("errors", network, replies.TOO_MANY_CLIENT_ERRORS, listener)

    def _refuse(self, limit: str, network: bytes, reply: Reply, listener: str) -> Reply:
        self.refused[limit] += 1
        if self._counters.take(b"told:" + limit.encode() + network, _TOLD):
            self._emit(
                "client.limited",
                {"network": network.decode(), "limit": limit, "listener": listener, "reply": str(reply)},
            )
        return reply
