"""Thousands of sessions that stand still under TLS: memory of each, and whether a probe notices them."""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

import uvloop

from bench.certificate import write_certificate
from bench.configuration import DISCARDS, MANY_SESSIONS, configured
from bench.duels.idle import Held, measure, sessions_possible
from bench.errors import BenchError
from bench.peers.upesi import UpesiConfigured
from bench.result import Claim, Result
from bench.setting import Setting
from upesi.tls.contexts import client_context
from upesi.tls.transport import TlsTransport

__all__ = ["IdleTlsDuel"]

_TLS = 'tls = "starttls"\ncertificates = "{certificates}"\n'
_CONFIG = configured(1, listener=MANY_SESSIONS + _TLS, more=DISCARDS)


class _Secured(Held):
    """A session that stops after its second EHLO, under TLS."""

    _lines = (b"EHLO a.example\r\n", b"STARTTLS\r\n", b"", b"EHLO a.example\r\n")

    def __init__(self, ready: asyncio.Future[None], context: ssl.SSLContext) -> None:
        super().__init__(ready)
        self._context = context

    def go_on(self) -> None:
        """Shake hands where that is due."""
        if self._step == 2:
            self._step += 1
            tls = TlsTransport(self.transport, self, self._context, server_side=False)
            self.transport = tls
            tls.begin()
        else:
            super().go_on()

    def tls_established(self) -> None:
        """Say EHLO again."""
        self.go_on()

    def tls_failed(self, reason: str) -> None:
        """Give up."""
        self._ready.set_exception(BenchError(f"handshake: {reason}"))


class IdleTlsDuel:
    """10,000 sessions on one worker (fewer where the limit of open files is lower); there is nobody to compare with in one process."""

    name = "idle-tls"
    title = "Idle sessions under TLS, one worker"

    def run(self, setting: Setting) -> Result:
        """Hold them, and judge."""
        count = sessions_possible(setting)
        columns = ("server", "sessions", "kB each (Pss)", "all taken in, s", "probe p50, ms", "probe max, ms")
        result = Result(self.name, self.title, "python -m bench --only idle-tls", columns)
        folder = write_certificate(setting.work / "certificates").parent
        context = client_context(verify=False)
        with UpesiConfigured(setting.work, _CONFIG.format(certificates=folder), "idle-tls") as peer:
            kb, took, median, largest = uvloop.run(
                measure(peer, count, lambda ready: cast("Held", _Secured(ready, context)))
            )
            figures = (f"{count:,}", f"{kb:.1f}", f"{took:.1f}", f"{median:.1f}", f"{largest:.1f}")
            result.rows.append((f"{peer.name} {peer.version()}", *figures))
        reduced = "" if count >= 10_000 else f"{count:,} of 10,000 sessions"
        result.claims += [
            Claim("memory of an idle session under TLS", kb, "kB", most=50.0, reduced=reduced),
            Claim("slowest of 50 probes meanwhile", largest, "ms", most=100.0, reduced=reduced),
        ]
        return result
