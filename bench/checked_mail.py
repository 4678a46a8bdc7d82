"""What the duel of the checks sends, and what DNS says about it: mail that passes every check, so that each is made to its end."""

from __future__ import annotations

import time
from email.utils import formatdate

from cryptography.hazmat.primitives.asymmetric import rsa

from bench.client import body_of
from bench.peers.checking import CLIENT
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SignatureTerms, SigningKey, signature_field

__all__ = ["DOMAIN", "ZONES", "CheckedMail"]

# Haraka takes no domain below example.com for a real one, and then leaves out some of its checks
DOMAIN = "origin-mail.org"

ZONES = (f"{DOMAIN}.", "in-addr.arpa.", "one.list.bench.", "two.list.bench.")
_REVERSE = ".".join(reversed(CLIENT.split(".")))


class CheckedMail:
    """Message data of about `size` octets, signed with a new RSA-2048 key of DOMAIN, and the records that go with it."""

    def __init__(self, size: int) -> None:
        key = SigningKey(DOMAIN, "bench", rsa.generate_private_key(public_exponent=65537, key_size=2048))
        header = f"Date: {formatdate()}\r\nMessage-ID: <bench@{DOMAIN}>\r\nFrom: a@{DOMAIN}\r\nTo: b@example.net\r\n".encode()
        message = header + body_of(size).replace(b"From: <a@example.com>\r\n", b"")
        wanted = BodyHash(Canonicalization.RELAXED)
        hashing = MessageHashing(lambda fields: (wanted,))
        hashing.feed(message)
        hashing.finish()
        digest = hashing.digest(wanted)
        assert digest is not None
        assert hashing.fields is not None
        self.data = signature_field(key, SignatureTerms(), hashing.fields, digest, int(time.time())) + message
        self.records = (
            f"{DOMAIN}. 300 IN MX 10 mail.{DOMAIN}.",
            f"mail.{DOMAIN}. 300 IN A 45.79.203.9",
            f'{DOMAIN}. 300 IN TXT "v=spf1 ip4:{CLIENT} -all"',
            f'_dmarc.{DOMAIN}. 300 IN TXT "v=DMARC1; p=reject"',
            f"{key.name}. 300 IN TXT {_strings(key.record)}",
            f"client.{DOMAIN}. 300 IN A {CLIENT}",
            f"{_REVERSE}.in-addr.arpa. 300 IN PTR client.{DOMAIN}.",
            *(f"2.0.0.127.{zone} 300 IN A 127.0.0.2" for zone in ZONES if zone.endswith("list.bench.")),
        )


def _strings(text: str) -> str:
    """Return a TXT record's text as strings of at most 255 octets (RFC 1035 section 3.3)."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))
