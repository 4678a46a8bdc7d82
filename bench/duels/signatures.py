"""DKIM against the bare operation of OpenSSL: what parsing, canonicalizing and hashing cost beside the RSA itself."""

from __future__ import annotations

import gc
import timeit
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from bench.result import Claim, Result
from bench.setting import Setting
from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import answered_from
from upesi.mailauth.dkim import DkimTerms, DkimVerifier
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SignatureTerms, SigningKey, signature_field

__all__ = ["SignaturesDuel"]

_HEADER = (
    b"Received: from client.example (client.example [192.0.2.1])\r\n\tby mx.example.org with ESMTPS id 4Xyz;\r\n"
    b"\tThu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <4711.abc@example.org>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"From: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: A subject that is as long as most are\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
)
_LINE = b"The quick brown fox jumps over the lazy dog, and runs away from it.\r\n"
_SIZE = 10_000
_NOW = 1_700_000_000
# short ones: on a busy machine a neighbour is in every long one
_ROUNDS = 300


class SignaturesDuel:
    """One core, 10 kB, relaxed/relaxed, RSA-2048; the best of many rounds, since what disturbs only adds."""

    name = "signatures"
    title = "DKIM in one process, 10 kB, relaxed/relaxed, RSA-2048, against OpenSSL's own signing and verifying of as many octets"

    def run(self, setting: Setting) -> Result:
        """Measure both ways."""
        secret = generate_private_key(65537, 2048)
        key = SigningKey("example.org", "s", secret)
        message = _HEADER + (_LINE * (_SIZE // len(_LINE)))
        way, digest = padding.PKCS1v15(), hashes.SHA256()
        bare, public = secret.sign(message, way, digest), secret.public_key()
        signed = _signed(key, message) + message
        keys, answer = KeyCache(), Answer(Status.OK, texts=(key.record,))

        def verify() -> None:
            verifier = DkimVerifier(DkimTerms())
            verifier.feed(signed)
            verifier.finish()
            [outcome] = answered_from(verifier.outcomes(_NOW, keys), lambda _: answer)
            assert outcome.result == "pass"

        figures = {
            "sign": (_best(lambda: secret.sign(message, way, digest), 3), _best(lambda: _signed(key, message), 3)),
            "verify": (_best(lambda: public.verify(bare, message, way, digest), 20), _best(verify, 20)),
        }
        command = "python -m bench --only signatures"
        result = Result(self.name, self.title, command, ("operation", "OpenSSL, us", "Upesi, us"))
        for name, (theirs, ours) in figures.items():
            result.rows.append((name, f"{theirs:.1f}", f"{ours:.1f}"))
        for name, most in (("sign", 1.5), ("verify", 2.5)):
            theirs, ours = figures[name]
            result.claims.append(Claim(f"{name}, against the bare operation", ours / theirs, "x", most=most))
        return result


def _signed(key: SigningKey, message: bytes) -> bytes:
    terms = SignatureTerms()
    wanted = BodyHash(terms.body)
    hashing = MessageHashing(lambda _: (wanted,))
    hashing.feed(message)
    hashing.finish()
    body = hashing.digest(wanted)
    assert hashing.fields is not None
    assert body is not None
    return signature_field(key, terms, hashing.fields, body, _NOW)


def _best(work: Callable[[], object], count: int) -> float:
    """Return the microseconds of one call in the best round."""
    gc.collect()
    return min(timeit.repeat(work, number=count, repeat=_ROUNDS)) / count * 1e6
