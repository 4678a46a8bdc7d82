"""How a connection is protected, in the words of the session, the trace field and the events: both directions use them."""

from __future__ import annotations

import msgspec

__all__ = ["PeerCertificate", "TlsInfo"]


class PeerCertificate(msgspec.Struct, frozen=True, gc=False):
    """The other side's certificate, which an authority that we trust has signed. All texts are free of control characters.

    `subject` and `issuer` are written "CN=mx.example.com, O=Example"; `names` are its DNS names and mail addresses (subjectAltName,
    the first few dozen); `fingerprint` is SHA-256 of the whole certificate in lower-case hexadecimal.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        """One name for logs and trace fields: the first of `names`, else the subject."""
        return self.names[0] if self.names else self.subject


class TlsInfo(msgspec.Struct, frozen=True, gc=False):
    """What a handshake has settled. `protocol` is "TLSv1.2" or "TLSv1.3", `cipher` OpenSSL's name, `bits` the strength of its key.

    `peer` is None where no certificate was shown, or none was asked for. `end_point` is the hash of the server's certificate for
    channel binding (RFC 5929 section 4, tls-server-end-point), empty where it is not known; `unique` is tls-unique (section 3), which
    TLS 1.3 does not have.
    """

    protocol: str
    cipher: str
    bits: int = 0
    peer: PeerCertificate | None = None
    end_point: bytes = b""
    resumed: bool = False
    unique: bytes = b""

    def __str__(self) -> str:
        return f"{self.protocol} {self.cipher}"
