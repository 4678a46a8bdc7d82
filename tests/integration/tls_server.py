"""A real server with TLS on three listeners: STARTTLS, implicit, and implicit with certificates of clients."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from pathlib import Path

from integration.conftest import MakeServer, program
from integration.server import UpesiServer, free_port

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "tls"))
sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "session"))

from tlskit import Authority, Issued, write

__all__ = ["Authority", "Issued", "TlsServer", "s_client", "write"]

_CONFIG = """\
[[listener]]
address = "127.0.0.1"
port = {implicit}
name = "implicit"
tls = "implicit"

[[listener]]
address = "127.0.0.1"
port = {known}
name = "known"
tls = "implicit"
client_certificates = "require"
client_authorities = "{authorities}"

[[listener]]
address = "127.0.0.1"
port = {proxied}
name = "proxied"
tls = "implicit"
proxy = ["127.0.0.0/8"]

[tls]
certificates = "{certificates}"
watch = "100ms"

[smtp.timeouts]
handshake = "{handshake}"

[[route]]
domains = ["*"]
to = "{to}"
"""


class TlsServer:
    """`server` offers STARTTLS on its own port; `implicit`, `known` and `proxied` are the ports of the others."""

    def __init__(
        self,
        make: MakeServer,
        folder: Path,
        authority: Authority,
        to: str = "discard",
        handshake: str = "30s",
        **given: int,
    ) -> None:
        self.authority = authority
        self.certificates = folder / "certificates"
        self.implicit, self.known, self.proxied = free_port(), free_port(), free_port()
        self.default = authority.issue("upesi.test")
        write(self.certificates, "upesi.pem", self.default.both)
        trusted = write(folder, "authority.crt", authority.pem)
        more = _CONFIG.format(
            implicit=self.implicit,
            known=self.known,
            proxied=self.proxied,
            authorities=trusted,
            certificates=self.certificates,
            to=to,
            handshake=handshake,
        )
        self.server: UpesiServer = make(more, started=False, **given)
        text = self.server.file.read_text().replace(
            f"port = {self.server.port}\n", f'port = {self.server.port}\nname = "mx"\ntls = "starttls"\n'
        )
        self.server.file.write_text(text)
        self.server.start()

    def events(self, name: str) -> list[str]:
        """The lines of the log with this event."""
        return [line for line in self.server.log.read_text().splitlines() if f'"event":"{name}"' in line]

    def client(self, *, verify: bool = True, own: Issued | None = None, folder: Path | None = None) -> ssl.SSLContext:
        """A client's context that trusts the authority."""
        context = ssl.create_default_context(cadata=self.authority.pem.decode())
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if own is not None:
            assert folder is not None
            context.load_cert_chain(write(folder, "client.pem", own.both))
        return context

    def connect(self, port: int, context: ssl.SSLContext | None = None, name: str = "upesi.test") -> ssl.SSLSocket:
        """Shake hands on a port with implicit TLS."""
        raw = socket.create_connection(("127.0.0.1", port), timeout=20)
        try:
            return (context or self.client()).wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise


def s_client(port: int, *arguments: str, say: str = "") -> str:
    """Run `openssl s_client` against a port; return all that it printed."""
    argv = [program("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-crlf", *arguments]
    result = subprocess.run(argv, input=say, capture_output=True, text=True, timeout=30, check=False)
    return result.stdout + result.stderr
