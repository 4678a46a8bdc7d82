"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's, older, and what most clients still speak): a bearer token in place of a password.

    client-resp = gs2-header kvsep *( key "=" value kvsep ) kvsep       ; OAUTHBEARER, kvsep is %x01
    xoauth2     = "user=" name %x01 "auth=Bearer" SP token %x01 %x01

A token that is refused is answered by a JSON object as one more challenge, which clients acknowledge before they hear the 535: it tells
them that a new token, not a new password, is wanted. Whose a token is, `tokens` finds out.
"""

from __future__ import annotations

import json
import re

from upesi.sasl.credentials import Refused
from upesi.sasl.steps import (
    CheckToken,
    Failure,
    MechanismFailed,
    Steps,
    admitted,
    challenge,
    decoded,
    prepared_user,
)

__all__ = ["oauthbearer", "xoauth2"]

_SEPARATOR = "\x01"
_HEADER = re.compile(r"([ny]|p=[A-Za-z0-9.-]{1,64}),(?:a=([^\0\x01,]*))?,")
# RFC 6750 section 2.1
_BEARER = re.compile(r"bearer ([A-Za-z0-9\-._~+/]{1,12288}=*)", re.IGNORECASE)
_VALUE = re.compile(r"[\t\r\n -~]*")
_KEY = re.compile(r"[A-Za-z]+")
_MAX_KEYS = 16


def oauthbearer(initial: bytes | None) -> Steps:
    """Run OAUTHBEARER."""
    header, separator, rest = decoded(initial if initial is not None else (yield from challenge(b""))).partition(
        _SEPARATOR
    )
    match = _HEADER.fullmatch(header)
    if match is None or not separator:
        raise MechanismFailed(Failure.MALFORMED, "not an OAUTHBEARER message")
    if match[1].startswith("p="):
        # RFC 7628 section 3.1: there is no binding of this mechanism
        raise MechanismFailed(Failure.MALFORMED, "a channel binding")
    authzid = (match[2] or "").replace("=2C", ",").replace("=3D", "=")
    token = _token(_pairs(rest))
    # without credentials a client asks what is wanted (RFC 7628 section 4.3)
    return (yield from _judged(authzid, token, {"status": "invalid_token"}))


def xoauth2(initial: bytes | None) -> Steps:
    """Run XOAUTH2."""
    message = decoded(initial if initial is not None else (yield from challenge(b"")))
    pairs = _pairs(message)
    if "user" not in pairs:
        raise MechanismFailed(Failure.MALFORMED, "no user")
    return (yield from _judged(pairs["user"], _token(pairs), {"status": "401", "schemes": "bearer", "scope": "mail"}))


def _judged(user: str, token: str, complaint: dict[str, str]) -> Steps:
    name = prepared_user(user) if user else ""
    answer = (yield CheckToken(name, token)) if token else Refused()
    try:
        return admitted(answer)
    except MechanismFailed as failed:
        if isinstance(answer, Refused):
            # a client may leave here, or answer "*": a guess was made all the same, where a token was shown (AUT-04).
            # What it answers otherwise is nothing or one %x01
            refusal = failed.failure if token else None
            yield from challenge(json.dumps(complaint, separators=(",", ":")).encode(), refusal)
        raise


def _pairs(text: str) -> dict[str, str]:
    """Read `*(key "=" value kvsep) kvsep`."""
    words = text.split(_SEPARATOR)
    if len(words) < 2 or words[-2:] != ["", ""] or len(words) > _MAX_KEYS:
        # "auth=x^A^A" leaves two empty words, and "^A" alone as well
        raise MechanismFailed(Failure.MALFORMED, "not ended by two separators")
    pairs: dict[str, str] = {}
    for word in words[:-2]:
        key, equals, value = word.partition("=")
        if not equals or not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or key in pairs:
            raise MechanismFailed(Failure.MALFORMED, "not key=value, each once")
        pairs[key] = value
    return pairs


def _token(pairs: dict[str, str]) -> str:
    if "auth" not in pairs:
        return ""
    match = _BEARER.fullmatch(pairs["auth"])
    if match is None:
        raise MechanismFailed(Failure.MALFORMED, "not a bearer token")
    return match[1]
