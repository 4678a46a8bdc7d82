"""The small servers that only take and forget: aiosmtpd and smtp-sink."""

from __future__ import annotations

import importlib.metadata
import sys

from bench.peers.peer import Peer
from bench.ports import AIOSMTPD, SINK
from bench.sink import smtp_sink_argv

__all__ = ["Aiosmtpd", "SmtpSink"]


class Aiosmtpd(Peer):
    """aiosmtpd with its own handler `Sink`, which does nothing with a message."""

    name = "aiosmtpd"
    port = AIOSMTPD
    guarantee = "none wanted: discards"

    def argv(self) -> list[str]:
        """Return its own command line."""
        return [sys.executable, "-m", "aiosmtpd", "-n", "-c", "aiosmtpd.handlers.Sink", "-l", f"127.0.0.1:{self.port}"]

    def version(self) -> str:
        """Return the installed version."""
        return importlib.metadata.version("aiosmtpd")


class SmtpSink(Peer):
    """Postfix's smtp-sink: in C, no queue, no policy."""

    name = "smtp-sink"
    port = SINK
    guarantee = "none wanted: discards"

    def argv(self) -> list[str]:
        """Return its command line, without counting."""
        return smtp_sink_argv(self.port)
