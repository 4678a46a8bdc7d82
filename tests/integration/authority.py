"""A certificate authority of the tests: it signs for localhost, 127.0.0.1 and ::1, with the `openssl` of the system."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from integration.conftest import program

_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


class Authority:
    """`file` is what clients must trust; `certificate` and `key` are a server's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.certificate, self.key = (folder / name for name in ("ca.pem", "server.pem", "server.key"))
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
            "-subj", "/CN=Authority of the tests", "-keyout", "ca.key", "-out", "ca.pem",
        )  # fmt: skip
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2",
            "-subj", "/CN=localhost", "-addext", _NAMES, "-addext", "basicConstraints=critical,CA:FALSE",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-keyout", "server.key", "-out", "server.pem",
        )  # fmt: skip

    def context(self) -> ssl.SSLContext:
        """Return a context of a server with the certificate."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def _openssl(self, *arguments: str) -> None:
        subprocess.run([program("openssl"), *arguments], cwd=self._folder, check=True, capture_output=True)
