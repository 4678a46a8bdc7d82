"""Clients that a proxy says are somewhere else, and the server that believes it: senders from all over the world on one machine."""

from __future__ import annotations

import smtplib
import socket

from integration.conftest import route_to

__all__ = ["CLIENT", "Proxied", "behind_proxy"]

# a public address: what is said of it in DNS is what the test's own zone says
CLIENT = "9.9.9.9"


class Proxied(smtplib.SMTP):
    """A client that is at `origin`, as its proxy says (PROXY protocol, version 1)."""

    def __init__(self, port: int, helo: str, origin: str = CLIENT) -> None:
        """Connect to `port` of this machine."""
        self._origin = origin
        super().__init__("127.0.0.1", port, helo, timeout=60)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        sock = super()._get_socket(host, port, timeout)
        sock.sendall(f"PROXY TCP4 {self._origin} 127.0.0.1 4000 25\r\n".encode())
        return sock


def behind_proxy(port: int, dns: int, next_hop: int, plugins: list[str], more: str) -> str:
    """Return the configuration of a server at `port`, behind a proxy, that asks `dns` and takes mail for example.net to `next_hop`."""
    enabled = ", ".join(f'"{plugin}"' for plugin in ["relay", "recipients", *plugins])
    return f"""{route_to(next_hop)}
[dns]
servers = ["127.0.0.1:{dns}"]

[[listener]]
port = {port}
proxy = ["127.0.0.1"]

[plugins]
enabled = [{enabled}]

[plugins.recipients]
domains = ["example.net"]

{more}
"""
