"""The ports of the duels: fixed, so that `packaging/examples/*-bench.toml` and the commands in the report can be run by hand."""

from __future__ import annotations

import socket

from bench.errors import BenchError

__all__ = ["AIOSMTPD", "DISCARD", "DNS", "HARAKA", "POSTFIX", "RELAY", "SINK", "TLS", "require_free"]

SINK = 2603
POSTFIX = 2606
HARAKA = 2607
RELAY = 2608
DISCARD = 2609
AIOSMTPD = 2610
DNS = 2611
TLS = 2612


def require_free(port: int, address: str = "127.0.0.1") -> None:
    """Return if `port` can be bound; raise BenchError, naming the command that shows who has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise BenchError(f"port {port} is taken; `ss -ltnp 'sport = :{port}'` shows by whom") from error
