"""How we show a server who we are: the client's side of SCRAM, PLAIN and LOGIN (RFC 5802, RFC 7677, RFC 4616). Pure.

Each is a generator: it yields responses (None first where there is no initial one) and is sent challenges. It ends when it has nothing more
to say and, for SCRAM, when the server has shown that it knows us too. Channel binding (-PLUS) is not used: what it protects from,
somebody in the middle with another certificate, is kept out by verifying.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Generator
from functools import partial
from types import MappingProxyType
from typing import TypeAlias

from upesi.sasl.saslprep import saslprep
from upesi.sasl.scram import MAX_ITERATIONS, MIN_ITERATIONS

__all__ = ["CLIENT_MECHANISMS", "Distrusted", "Steps"]

Steps: TypeAlias = Generator[bytes | None, bytes, None]

_SERVER_FIRST = re.compile(rb"r=([!-+\--~]{1,512}),s=([A-Za-z0-9+/=]{1,1024}),i=([1-9][0-9]{0,9})(?:,.*)?", re.DOTALL)


class Distrusted(Exception):
    """The server does not do its part of the mechanism; the text is ours."""


def _plain(user: str, password: str, nonce: str) -> Steps:
    yield f"\0{user}\0{password}".encode()


def _login(user: str, password: str, nonce: str) -> Steps:
    # the challenges say "Username:" and "Password:", in whatever words: it is their order that counts
    yield None
    yield user.encode()
    yield password.encode()


def _scram(hash: str, user: str, password: str, nonce: str) -> Steps:
    bare = f"n={saslprep(user).replace('=', '=3D').replace(',', '=2C')},r={nonce}".encode()
    first = yield b"n,," + bare
    match = _SERVER_FIRST.fullmatch(first)
    if match is None or not match[1].startswith(nonce.encode()) or len(match[1]) == len(nonce):
        raise Distrusted("the server's first message is not one")
    iterations = int(match[3])
    if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
        # too few give the password away to whoever reads this, too many are an attack on us (AUT-08)
        raise Distrusted(f"the server asks for {iterations} iterations")
    salted = hashlib.pbkdf2_hmac(hash, saslprep(password).encode(), _salt(match[2]), iterations)
    client_key = hmac.digest(salted, b"Client Key", hash)
    final = b"c=biws,r=" + match[1]
    message = bare + b"," + first + b"," + final
    signature = hmac.digest(hashlib.new(hash, client_key).digest(), message, hash)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    verdict = yield final + b",p=" + b64encode(proof)
    expected = b"v=" + b64encode(hmac.digest(hmac.digest(salted, b"Server Key", hash), message, hash))
    if not hmac.compare_digest(verdict.partition(b",")[0], expected):
        raise Distrusted("the server does not know our password")
    yield b""


def _salt(text: bytes) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise Distrusted("the server's salt is no base64") from None


# the best first. One that fails is not followed by a weaker one: that is what somebody in the middle would want
CLIENT_MECHANISMS: MappingProxyType[str, Callable[[str, str, str], Steps]] = MappingProxyType(
    {
        "SCRAM-SHA-256": partial(_scram, "sha256"),
        "SCRAM-SHA-1": partial(_scram, "sha1"),
        "PLAIN": _plain,
        "LOGIN": _login,
    }
)
