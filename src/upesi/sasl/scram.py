"""SCRAM-SHA-1 and SCRAM-SHA-256, with channel binding as -PLUS (RFC 5802, RFC 7677, RFC 9266): the server's side.

    client-first-message  = gs2-cbind-flag "," [ authzid ] "," username "," nonce ["," extensions]
    server-first-message  = nonce "," salt "," iteration-count
    client-final-message  = channel-binding "," nonce ["," extensions] "," proof
    server-final-message  = verifier

The client shows that it knows the password, we show that we have its keys, and neither shows them. A user that does not exist is
played to the end: salt and iterations are made up from the name and this server's secret, the same each time, and the proof is compared
with keys that nothing fits (RFC 5802 section 9 warns of the difference). The server's last message goes out as a challenge that is
answered by an empty response, because a 235 carries no data (RFC 4954 section 4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping

import msgspec

from upesi.sasl.circumstances import Circumstances
from upesi.sasl.credentials import Ability, Identity, Refused, ScramKeys, Unavailable
from upesi.sasl.steps import (
    Answer,
    Failure,
    FetchKeys,
    MechanismFailed,
    Steps,
    authorized,
    challenge,
    decoded,
    prepared_user,
)

__all__ = ["FICTITIOUS_ITERATIONS", "MAX_ITERATIONS", "MIN_ITERATIONS", "Hash", "scram"]

# RFC 7677 section 4 asks for 4096 at least
MIN_ITERATIONS = 4096
# AUT-08: a client computes them all; more than this is a mistake, or an attack on our users by whoever writes the source
MAX_ITERATIONS = 1_000_000
# what `upesi passwd` gives to users that exist
FICTITIOUS_ITERATIONS = 65_536
_SALT_OCTETS = 16
_MAX_NONCE = 512

_VALUE = "[^\0,]*"
# reserved-mext ("m=") is for extensions that must be understood, and none is: such a message does not match
_FIRST = re.compile(
    rf"(?P<gs2>(?P<flag>[ny]|p=[A-Za-z0-9.-]{{1,64}}),(?:a=(?P<authzid>{_VALUE}))?,)"
    rf"(?P<bare>n=(?P<user>{_VALUE}),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]={_VALUE})*)"
)
_FINAL = re.compile(
    rf"(?P<unproved>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\--~]+)(?:,[A-Za-z]={_VALUE})*),p=(?P<proof>[A-Za-z0-9+/=]+)"
)


class Hash(msgspec.Struct, frozen=True):
    """One hash function: hashlib's name of it, and what a source must have for it."""

    name: str
    ability: Ability
    octets: int


class _First(msgspec.Struct, frozen=True):
    """The client's first message."""

    header: bytes
    flag: str
    authzid: str
    bare: bytes
    user: str
    nonce: str


def scram(hash: Hash, initial: bytes | None, here: Circumstances, *, plus: bool) -> Steps:
    """Run SCRAM; `plus` binds it to the link."""
    first = _read_first(initial if initial is not None else (yield from challenge(b"")))
    binding = _binding(first.flag, here.link.bindings, plus=plus)
    keys = _keys((yield FetchKeys(first.user, hash.ability)), first.user, hash, here.secret)
    nonce = first.nonce + here.nonce()
    server_first = f"r={nonce},s={base64.b64encode(keys.salt).decode()},i={keys.iterations}".encode()
    final = _match(_FINAL, (yield from challenge(server_first)))
    if not hmac.compare_digest(final["nonce"], nonce) or _octets(final["binding"]) != first.header + binding:
        raise MechanismFailed(Failure.WRONG, "nonce or channel binding does not match")
    message = b",".join((first.bare, server_first, final["unproved"].encode()))
    if not _proves(hash, keys, message, _octets(final["proof"])):
        raise MechanismFailed(Failure.WRONG)
    signature = hmac.digest(keys.server_key, message, hash.name)
    if (yield from challenge(b"v=" + base64.b64encode(signature))):
        raise MechanismFailed(Failure.MALFORMED, "an answer behind the end")
    return authorized(keys.identity, first.user, first.authzid)


def _match(pattern: re.Pattern[str], message: bytes) -> re.Match[str]:
    match = pattern.fullmatch(decoded(message))
    if match is None:
        raise MechanismFailed(Failure.MALFORMED, "not a SCRAM message")
    return match


def _read_first(message: bytes) -> _First:
    match = _match(_FIRST, message)
    if len(match["nonce"]) > _MAX_NONCE:
        raise MechanismFailed(Failure.MALFORMED, "nonce too long")
    return _First(
        match["gs2"].encode(),
        match["flag"],
        _name(match["authzid"] or ""),
        match["bare"].encode(),
        prepared_user(_name(match["user"])),
        match["nonce"],
    )


def _name(text: str) -> str:
    """Return what a saslname stands for: "=2C" is a comma, "=3D" an equals sign, and no other "=" may stand in it."""
    plain = text.replace("=2C", ",").replace("=3D", "\0")
    if "=" in plain:
        raise MechanismFailed(Failure.MALFORMED, "a bare = in a name")
    return plain.replace("\0", "=")


def _octets(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise MechanismFailed(Failure.MALFORMED, "not base64") from None


def _binding(flag: str, bindings: Mapping[str, bytes], *, plus: bool) -> bytes:
    """Return the channel's octets that the client must name as we do; raise where somebody between us has changed the offer.

    RFC 5802 section 6: "y" says that the client could bind and thinks that we cannot. If we had offered -PLUS, somebody took it away.
    """
    if flag.startswith("p=") is not plus or (flag == "y" and bindings):
        raise MechanismFailed(Failure.WRONG, "channel binding was taken away")
    if not plus:
        return b""
    name = flag.removeprefix("p=")
    if name not in bindings:
        raise MechanismFailed(Failure.WRONG, "no such channel binding here")
    return bindings[name]


def _keys(answer: bytes | Answer, user: str, hash: Hash, secret: bytes) -> ScramKeys:
    """Return the user's keys, or made-up ones. Before the proof nobody is told that an account is closed, or that there is none."""
    if isinstance(answer, Refused) or answer is None:
        return _fictitious(user, hash, secret)
    if not isinstance(answer, ScramKeys):
        cause = answer.cause if isinstance(answer, Unavailable) else f"the source answered {type(answer).__name__}"
        raise MechanismFailed(Failure.UNAVAILABLE, cause)
    sizes = {len(answer.stored_key), len(answer.server_key)}
    if not MIN_ITERATIONS <= answer.iterations <= MAX_ITERATIONS or sizes != {hash.octets} or not answer.salt:
        raise MechanismFailed(Failure.UNAVAILABLE, "the stored keys are unusable")
    return answer


def _fictitious(user: str, hash: Hash, secret: bytes) -> ScramKeys:
    # nothing hashes to zeros that anyone could find, so no proof fits
    # sources compare names without regard to case: a salt that changed with it would show who does not exist (AUT-04)
    salt = hmac.digest(secret, f"{hash.name}:{user.lower()}".encode(), "sha256")[:_SALT_OCTETS]
    return ScramKeys(Identity(user), salt, FICTITIOUS_ITERATIONS, bytes(hash.octets), bytes(hash.octets))


def _proves(hash: Hash, keys: ScramKeys, message: bytes, proof: bytes) -> bool:
    """Whether the proof was made by somebody who knows the password: H(proof XOR signature) is the stored key."""
    if len(proof) != hash.octets:
        return False
    signature = hmac.digest(keys.stored_key, message, hash.name)
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    return hmac.compare_digest(_digest(hash, client_key), keys.stored_key)


def _digest(hash: Hash, data: bytes) -> bytes:
    return hashlib.new(hash.name, data).digest()
