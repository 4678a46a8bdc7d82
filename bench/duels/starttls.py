"""Mail over STARTTLS, a session for each message, against Postfix's smtpd with the same key: what handshakes cost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.certificate import write_certificate
from bench.configuration import DISCARDS, configured
from bench.errors import BenchError
from bench.peers.peer import Peer
from bench.peers.postfix import Postfix, PostfixInstance
from bench.peers.upesi import UpesiConfigured
from bench.ports import TLS
from bench.result import Claim, Figure, Result, median_ratio
from bench.setting import Setting
from bench.turns import Turns

__all__ = ["StarttlsDuel"]

_CONFIG = configured(2, listener='tls = "starttls"\ncertificates = "{certificates}"\n', more=DISCARDS)
# DISCARD: the message is taken whole and thrown away by cleanup, no file is written
_POSTFIX = """\
smtpd_tls_security_level = may
smtpd_tls_chain_files = {certificate}
smtpd_tls_loglevel = 0
smtpd_recipient_restrictions = check_recipient_access static:DISCARD, reject
"""
_SESSIONS = 20


class PostfixSmtpd(Postfix):
    """Postfix's smtpd, which offers STARTTLS and discards."""

    port = TLS
    guarantee = "none wanted: discards"

    def __init__(self, work: Path, certificate: Path) -> None:
        super().__init__(work)
        self._instance = PostfixInstance(self.folder, self.port, more=_POSTFIX.format(certificate=certificate))


class StarttlsDuel:
    """Both cores, shared with the client; new connection and full handshake for each message of 4 kB."""

    name = "starttls"
    title = "STARTTLS sessions with one message each, accepted and discarded, both cores, the same ECDSA P-256 key"

    def run(self, setting: Setting) -> Result:
        """Take turns and judge."""
        certificate = write_certificate(setting.work / "certificates")
        ours = UpesiConfigured(setting.work, _CONFIG.format(certificates=certificate.parent), "starttls")
        peers: list[Peer] = [PostfixSmtpd(setting.work, certificate), ours]
        turns: Turns[None] = Turns()
        turns.take(setting, peers, lambda peer, count: (count / _send(peer.port, count), None))
        result = Result(self.name, self.title, " ".join(["python", *_argv(ours.port, 5000)]), ("server", "sessions/s"))
        for peer in peers:
            absent = turns.absent.get(peer.name)
            figure = f"could not be had: {absent}" if absent else str(Figure(turns.rates[peer.name]))
            result.rows.append((peer.name if absent else f"{peer.name} {peer.version()}", figure))
        if "Postfix" in turns.rates and "Upesi" in turns.rates:
            ratio = median_ratio(turns.rates["Upesi"], turns.rates["Postfix"])
            result.claims.append(Claim("rate against Postfix's smtpd", ratio, "x", least=2.0))
        result.notes.append(
            "The client is of Python too, and takes about a millisecond of processor time for each session of either server."
        )
        return result


def _argv(port: int, count: int) -> list[str]:
    return ["-m", "bench.tls_client", str(port), str(count), str(_SESSIONS)]


def _send(port: int, count: int) -> float:
    """Open `count` sessions and return the seconds; raise BenchError."""
    result = subprocess.run([sys.executable, *_argv(port, count)], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchError(f"the client gave up on port {port}: {result.stderr.strip()[-300:]}")
    return float(result.stdout)
