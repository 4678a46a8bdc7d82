"""Making DKIM signatures (RFC 6376 section 5, RFC 8301, RFC 8463).

A `Signer` is one key of one domain; a message may be given to several, of both algorithms. What is made is a field to be put on top of
the message. `l=` is never made: whoever has the message could write below it (C73).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.fields import Fields, fields_digest
from upesi.mailauth.hashing import BodyDigest
from upesi.mailauth.keys import MAX_RSA_BITS

__all__ = [
    "MAX_SIGNED", "MIN_SIGNING_BITS", "OVERSIGNED", "SIGNED", "KeyFileError", "NotSignable", "SignatureTerms", "SigningKey", "Unsigned",
    "folded", "folded_base64", "signature_field", "signed_names", "unsigned_field",
]  # fmt: skip

# RFC 8301 section 3.2: signers SHOULD use at least 2048
MIN_SIGNING_BITS = 2048

# RFC 6376 section 5.4.1: From, what a reader sees or answers to, what says how the text is to be read, and what makes a client act
# (List-Unsubscribe: RFC 8058 section 4, C101). Not signed: Received, Return-Path and other trace fields, which honest relays add to
SIGNED = (
    b"from", b"sender", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references",
    b"mime-version", b"content-type", b"content-transfer-encoding", b"content-id", b"content-description", b"content-disposition",
    b"resent-date", b"resent-from", b"resent-sender", b"resent-to", b"resent-cc", b"resent-message-id",
    b"list-id", b"list-help", b"list-unsubscribe", b"list-unsubscribe-post", b"list-subscribe", b"list-post", b"list-owner",
    b"list-archive", b"feedback-id",
)  # fmt: skip
# Named once more than they are there, so that nobody can add one (RFC 6376 section 8.15, C70): a second From or Subject that a reader is
# shown, a Content-Type that makes another text of the same octets
OVERSIGNED = (
    b"from", b"reply-to", b"to", b"cc", b"subject", b"date", b"message-id", b"mime-version", b"content-type", b"content-transfer-encoding",
)  # fmt: skip

_PADDING = padding.PKCS1v15()
_SHA256 = Prehashed(hashes.SHA256())
# RFC 5322 section 2.1.1: lines should have no more than 78 octets
_LINE = 70
# fields of one message that are signed; more belong to no mail of people
MAX_SIGNED = 400


class KeyFileError(ValueError):
    """A private key that cannot be used. The message is for the operator and holds nothing of the key."""


class NotSignable(ValueError):
    """A message that no valid signature can be made for. The message is safe to show."""


class SigningKey:
    """The private key behind one selector of one domain."""

    __slots__ = ("_key", "algorithm", "domain", "selector")

    def __init__(self, domain: str, selector: str, key: RSAPrivateKey | Ed25519PrivateKey) -> None:
        self.domain = domain
        self.selector = selector
        self.algorithm = "rsa-sha256" if isinstance(key, RSAPrivateKey) else "ed25519-sha256"
        self._key = key

    @classmethod
    def load(cls, domain: str, selector: str, pem: bytes) -> SigningKey:
        """Read a private key without a passphrase, PEM of any kind; raise KeyFileError."""
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise KeyFileError("the key has a passphrase, which nobody could type when the server starts") from None
        except (ValueError, UnsupportedAlgorithm):
            raise KeyFileError("this is no private key in PEM") from None
        if isinstance(key, RSAPrivateKey):
            if not MIN_SIGNING_BITS <= key.key_size <= MAX_RSA_BITS:
                bits = f"{MIN_SIGNING_BITS} to {MAX_RSA_BITS}"
                raise KeyFileError(f"an RSA key of {key.key_size} bits: receivers want {bits} (RFC 8301)")
        elif not isinstance(key, Ed25519PrivateKey):
            raise KeyFileError("the key is neither RSA nor Ed25519")
        return cls(domain, selector, key)

    @classmethod
    def generate(cls, domain: str, selector: str, kind: str, bits: int = MIN_SIGNING_BITS) -> SigningKey:
        """Make a new key, `kind` being "rsa" or "ed25519"."""
        return cls(
            domain, selector, Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(65537, bits)
        )

    @property
    def pem(self) -> bytes:
        """The private key, as files have it."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def slow(self) -> bool:
        """Whether signing takes longer than handing the work to another thread: some 400 us with RSA, 30 us with Ed25519."""
        return isinstance(self._key, RSAPrivateKey)

    def sign(self, digest: bytes) -> bytes:
        """Return the signature of a SHA-256 digest."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(digest)
        return self._key.sign(digest, _PADDING, _SHA256)

    @property
    def record(self) -> str:
        """The TXT record that publishes the public key."""
        public = self._key.public_key()
        if isinstance(self._key, Ed25519PrivateKey):
            raw, kind = public.public_bytes(Encoding.Raw, PublicFormat.Raw), "ed25519"
        else:
            raw, kind = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "rsa"
        return f"v=DKIM1; k={kind}; p={base64.b64encode(raw).decode()}"

    @property
    def name(self) -> str:
        """Where the record belongs."""
        return f"{self.selector}._domainkey.{self.domain}"


def signed_names(
    fields: Fields, signed: Iterable[bytes] = SIGNED, oversigned: Iterable[bytes] = OVERSIGNED
) -> tuple[bytes, ...]:
    """Return what h= is to name: each field of `signed` as often as it is there, those of `oversigned` once more; raise NotSignable."""
    if not fields.named(b"from"):
        raise NotSignable("message has no From")
    once_more = set(oversigned)
    names: list[bytes] = []
    for name in signed:
        names += [name] * (len(fields.named(name)) + (name in once_more))
    if len(names) > MAX_SIGNED:
        raise NotSignable("message has too many fields that are to be signed")
    return tuple(names)


class SignatureTerms(msgspec.Struct, frozen=True):
    """What is the same for all signatures of one signer. `lifetime` in seconds makes x=; fields are as `signed_names` takes them."""

    header: Canonicalization = Canonicalization.RELAXED
    body: Canonicalization = Canonicalization.RELAXED
    lifetime: int | None = None
    signed: tuple[bytes, ...] = SIGNED
    oversigned: tuple[bytes, ...] = OVERSIGNED


class Unsigned(msgspec.Struct, frozen=True, gc=False):
    """A signature field but for its signature: `text` ends where the value of b= begins, `digest` is what is to be signed."""

    text: bytes
    digest: bytes

    def signed(self, octets: bytes) -> bytes:
        """Return the whole field, with its CRLF."""
        return self.text + folded_base64(octets) + b"\r\n"


def unsigned_field(key: SigningKey, terms: SignatureTerms, fields: Fields, body: BodyDigest, now: int) -> Unsigned:
    """Return the DKIM-Signature field for a message; raise NotSignable. `now` is the wall clock in seconds."""
    names = signed_names(fields, terms.signed, terms.oversigned)
    times = f"t={now};" if terms.lifetime is None else f"t={now}; x={now + terms.lifetime};"
    text = "\r\n\t".join(
        (
            f"DKIM-Signature: v=1; a={key.algorithm}; c={terms.header.value}/{terms.body.value};",
            f"d={key.domain}; s={key.selector}; {times}",
            folded("h=" + b":".join(names).decode() + ";"),
            f"bh={base64.b64encode(body.digest).decode()};",
            "b=",
        )
    ).encode()
    return Unsigned(text, fields_digest(fields, names, text, terms.header))


def signature_field(key: SigningKey, terms: SignatureTerms, fields: Fields, body: BodyDigest, now: int) -> bytes:
    """Return the DKIM-Signature field, signed, with its CRLF; raise NotSignable."""
    unsigned = unsigned_field(key, terms, fields, body, now)
    return unsigned.signed(key.sign(unsigned.digest))


def folded(names: str) -> str:
    """Return a list with colons on lines of at most some 70 characters."""
    lines = []
    while len(names) > _LINE:
        end = names.rfind(":", 0, _LINE) + 1 or names.find(":", _LINE) + 1 or len(names)
        lines.append(names[:end])
        names = names[end:]
    lines.append(names)
    return "\r\n\t".join(line for line in lines if line)


def folded_base64(octets: bytes) -> bytes:
    """Return `octets` in base64 on lines of 72 characters, the first of them behind "b="."""
    text = base64.b64encode(octets)
    lines = [text[:_LINE], *(text[start : start + _LINE + 2] for start in range(_LINE, len(text), _LINE + 2))]
    return b"\r\n\t".join(lines)
