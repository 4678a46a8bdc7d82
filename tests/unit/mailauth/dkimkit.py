"""What tests of DKIM and ARC stand on: keys made once, a zone as a mapping, verifying in one call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import Question, answered_from
from upesi.mailauth.dkim import DkimOutcome, DkimTerms, DkimVerifier
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SignatureTerms, SigningKey, signature_field

__all__ = ["NOW", "Zone", "answers", "ed25519_key", "rsa_key", "signed_by", "verified", "zone_of"]

# in the past: dkimpy takes no signature of the future
NOW = 1_700_000_000

Zone = Mapping[str, "str | Iterable[str] | Status"]


@cache
def rsa_key(domain: str = "example.org", selector: str = "r") -> SigningKey:
    return SigningKey(domain, selector, generate_private_key(65537, 2048))


@cache
def ed25519_key(domain: str = "example.org", selector: str = "e") -> SigningKey:
    return SigningKey(domain, selector, Ed25519PrivateKey.generate())


def zone_of(*keys: SigningKey) -> dict[str, str]:
    return {key.name: key.record for key in keys}


def answers(zone: Zone, question: Question) -> Answer:
    found = zone.get(question.name, Status.NXDOMAIN)
    if isinstance(found, Status):
        return Answer(found)
    assert question.kind == "TXT"
    return Answer(Status.OK, texts=(found,) if isinstance(found, str) else tuple(found))


def verified(
    message: bytes,
    zone: Zone,
    *,
    now: float = NOW,
    terms: DkimTerms = DkimTerms(),  # noqa: B008 - frozen
) -> tuple[DkimOutcome, ...]:
    """What comes of each signature of a message."""
    verifier = DkimVerifier(terms)
    verifier.feed(message)
    verifier.finish()
    return answered_from(verifier.outcomes(now, KeyCache()), lambda question: answers(zone, question))


def signed_by(key: SigningKey, message: bytes, *, terms: SignatureTerms = SignatureTerms(), now: int = NOW) -> bytes:  # noqa: B008 - frozen
    """The signature field that goes on top of a message."""
    wanted = BodyHash(terms.body)
    hashing = MessageHashing(lambda _: (wanted,))
    hashing.feed(message)
    hashing.finish()
    digest = hashing.digest(wanted)
    assert hashing.fields is not None
    assert digest is not None
    return signature_field(key, terms, hashing.fields, digest, now)
