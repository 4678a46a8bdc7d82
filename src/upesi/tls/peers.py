"""What a verified certificate of the other side says of it, made safe for logs and header fields."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterable, Iterator
from typing import cast

from upesi.mail.security import PeerCertificate

__all__ = ["MAX_PEER_NAMES", "peer_certificate"]

# TLS-12: a certificate may name ten thousand; a session keeps the first few
MAX_PEER_NAMES = 32
_MAX_TEXT = 255
# an authority that we trust has signed it, yet what it signed the holder wrote: nothing that ends a line, a quoted string or a comment
_UNSAFE = re.compile(r"[^ -~]|[\"\\()<>]")
_SHORT = {
    "commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C",
    "stateOrProvinceName": "ST", "localityName": "L", "emailAddress": "E", "domainComponent": "DC",
}  # fmt: skip
_KINDS = ("DNS", "email")


def peer_certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    """Return the certificate that the other side has shown and that was verified; None where there is none.

    Python gives the parsed form of verified certificates only, so one that was merely shown is never taken for an identity.
    """
    parsed = tls.getpeercert()
    encoded = tls.getpeercert(binary_form=True)
    if not parsed or encoded is None:
        return None
    return PeerCertificate(
        _name(parsed.get("subject", ())),
        _name(parsed.get("issuer", ())),
        tuple(_names(parsed.get("subjectAltName", ()))),
        hashlib.sha256(encoded).hexdigest(),
    )


def _names(names: object) -> Iterator[str]:
    count = 0
    for kind, value in cast("Iterable[tuple[str, str]]", names):
        # an authority that may sign host names only has not signed for a mailbox
        if kind in _KINDS and count < MAX_PEER_NAMES and (kind == "email" or "@" not in value):
            count += 1
            yield _safe(value)


def _name(parts: object) -> str:
    """Write a distinguished name, the most particular part first."""
    pairs = [pair for group in cast("Iterable[Iterable[tuple[str, str]]]", parts) for pair in group]
    return _safe(", ".join(f"{_SHORT.get(key, key)}={value}" for key, value in reversed(pairs)))


def _safe(text: str) -> str:
    return _UNSAFE.sub("?", text)[:_MAX_TEXT]
