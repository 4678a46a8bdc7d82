"""One certificate: chain and key read, and everything checked that would be found out by a client otherwise.

What cannot work is a TlsError: no key, another certificate's key, a chain whose links do not hold. What works and should not go on so
(expired, nearly so, self-signed) is a warning. RFC 9525: the names are those of subjectAltName; the common name counts where there are
none, as old clients do it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtensionOID, NameOID

from upesi.tls.contexts import TlsError, server_context

__all__ = ["MAX_NAMES", "Certificate", "read_certificate"]

# names of one certificate that are looked at: public authorities allow 100, and a client's request must stay one look-up in a table
MAX_NAMES = 1000
_SOON = 14 * 86400.0
# RFC 5929 section 4.1: MD5 and SHA-1 give way to SHA-256
_WEAK = ("md5", "sha1")


class Certificate:
    """A chain with its key, good to be shown. `names` are in lower case, "*.example.com" for all hosts right below.

    `source` names its files for operators; `pem` is what OpenSSL gets. `begins` and `ends` are in wall-clock seconds.
    `end_point` is what tls-server-end-point binds to (RFC 5929 section 4.1).
    """

    __slots__ = ("begins", "end_point", "ends", "names", "pem", "self_signed", "source")

    def __init__(self, source: str, pem: bytes, chain: Sequence[x509.Certificate]) -> None:
        leaf = chain[0]
        self.source = source
        self.pem = pem
        self.names = tuple(_names(leaf))
        self.begins = leaf.not_valid_before_utc.timestamp()
        self.ends = leaf.not_valid_after_utc.timestamp()
        self.end_point = leaf.fingerprint(_hash_of(leaf))
        self.self_signed = leaf.subject == leaf.issuer

    def good(self, now: float) -> bool:
        """Return whether its time has come and is not over."""
        return self.begins <= now < self.ends

    def warnings(self, now: float) -> Iterator[str]:
        """Yield what an operator should know of it."""
        if now >= self.ends:
            yield f"{self.source}: expired on {_day(self.ends)}: clients that verify it will not go on"
        elif now < self.begins:
            yield f"{self.source}: is not valid before {_day(self.begins)}"
        elif self.ends - now < _SOON:
            yield f"{self.source}: expires on {_day(self.ends)}"
        if self.self_signed:
            yield f"{self.source}: is self-signed: it encrypts, and proves nothing to anybody"
        if not self.names:
            yield f"{self.source}: names no host, so it is shown only where no other fits"


def read_certificate(source: str, pem: bytes) -> Certificate:
    """Read the chain (the certificate of the host first, then each one's issuer) and the key in `pem`; raise TlsError."""
    chain = _chain(pem)
    _check_key(chain[0], pem)
    _check_links(chain)
    # OpenSSL has the last word: it refuses keys that are too small, and signatures that are too weak
    server_context(pem)
    return Certificate(source, pem, chain)


def _chain(pem: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" not in pem:
        raise TlsError("it holds no certificate in PEM form")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TlsError("it holds a certificate that cannot be read") from error


def _check_key(leaf: x509.Certificate, pem: bytes) -> None:
    if b"PRIVATE KEY-----" not in pem:
        raise TlsError("there is no private key for it")
    if b"ENCRYPTED" in pem:
        raise TlsError("its private key is encrypted: a server that starts by itself cannot ask for the password")
    try:
        key = serialization.load_pem_private_key(_key_part(pem), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TlsError("its private key cannot be read") from error
    if _spki(key.public_key()) != _spki(leaf.public_key()):
        raise TlsError("the private key belongs to another certificate")


def _key_part(pem: bytes) -> bytes:
    """Return the first private key, without the "EC PARAMETERS" that some tools write before it."""
    words = pem.split(b"-----BEGIN ")
    return next(b"-----BEGIN " + word for word in words if b"PRIVATE KEY-----" in word.partition(b"\n")[0])


def _spki(key: object) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, form)  # type: ignore[attr-defined, no-any-return]


def _check_links(chain: Sequence[x509.Certificate]) -> None:
    for number, (issued, issuer) in enumerate(pairwise(chain), 2):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise TlsError(
                f"certificate {number} of the chain did not issue the one before it: the order is host, then issuers"
            ) from error


def _names(leaf: x509.Certificate) -> Iterator[str]:
    try:
        extension = leaf.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        found = cast("x509.SubjectAlternativeName", extension).get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        common = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found = [str(attribute.value) for attribute in common]
    for name in found[:MAX_NAMES]:
        yield name.lower().rstrip(".")


def _hash_of(leaf: x509.Certificate) -> hashes.HashAlgorithm:
    try:
        own = leaf.signature_hash_algorithm
    except UnsupportedAlgorithm:
        own = None
    # Ed25519 and Ed448 hash inside of the signature: everybody takes SHA-256 for them
    return hashes.SHA256() if own is None or own.name in _WEAK else own


def _day(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).strftime("%Y-%m-%d")
