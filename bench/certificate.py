"""One self-signed certificate for all who are measured: ECDSA P-256, which is what public authorities' tools ask for by default."""

from __future__ import annotations

from pathlib import Path

from upesi.tls.selfsigned import self_signed

__all__ = ["write_certificate"]


def write_certificate(folder: Path) -> Path:
    """Write `bench.pem`, chain and key, into `folder`; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.pem"
    path.write_bytes(self_signed("bench.example.org"))
    path.chmod(0o600)
    return path
