"""Which DNS servers to ask: those of the configuration, else those of /etc/resolv.conf."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

__all__ = ["Server", "configured_servers", "parse_server", "servers_from_resolv_conf"]

# address and port
Server = tuple[str, int]

# resolv.conf(5): MAXNS
MAX_SERVERS = 3

# resolv.conf(5): without a nameserver line, the one on this machine
LOCAL = ("127.0.0.1", 53)


def configured_servers(texts: Iterable[str], resolv_conf: str = "/etc/resolv.conf") -> tuple[tuple[str, int], ...]:
    """Return the servers that `texts` (`dns.servers`) name, else those of `resolv_conf`; raise ValueError for a bad text."""
    servers = tuple(parse_server(text) for text in texts)
    if servers:
        return servers
    try:
        with open(resolv_conf, encoding="utf-8", errors="replace") as lines:
            return servers_from_resolv_conf(lines)
    except OSError:
        return (LOCAL,)


def parse_server(text: str) -> tuple[str, int]:
    """Read "ADDRESS", "ADDRESS:PORT" or "[ADDRESS]:PORT"; raise ValueError."""
    host, port = text.strip(), "53"
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    ip_address(host.partition("%")[0])
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not ADDRESS or ADDRESS:PORT of a DNS server")
    return host, int(port)


def servers_from_resolv_conf(lines: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return the servers that `lines` of a resolv.conf name; lines that cannot be read are passed over, as the C library does."""
    found = []
    for line in lines:
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                found.append((str(ip_address(words[1].partition("%")[0])), 53))
            except ValueError:
                continue
    return tuple(found[:MAX_SERVERS]) or (LOCAL,)
