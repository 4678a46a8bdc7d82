"""What a token says of its owner (RFC 7519 section 4, RFC 7662 section 2.2), and whether that lets anybody in here.

Both ways to a token's claims end here, so that a signature and an issuer's word are judged alike: what has expired, is for another
service, comes from another issuer or lacks the scope is refused (AUT-09).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from upesi.sasl.credentials import Identity, Refused
from upesi.sasl.saslprep import PrepError, saslprep
from upesi.sasl.steps import MAX_USER

__all__ = ["ClaimRules", "owner"]


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold. Empty texts ask for nothing.

    `names` are the claims that may name the account, the first that is there does; an `email` that is not verified ends the search: who
    could not prove an address would only have to call himself by it in the next claim (AUT-09). `leeway` in seconds, for clocks that
    differ.
    """

    names: tuple[str, ...]
    issuer: str = ""
    audience: str = ""
    scope: str = ""
    leeway: float = 30.0


def owner(claims: Mapping[str, object], rules: ClaimRules, user: str, now: float) -> Identity | Refused:
    """Return whose token it is; Refused where the claims do not hold, or `user` is there and is none of the owner's names."""
    if not (_in_time(claims, rules, now) and _for_us(claims, rules)):
        return Refused()
    names = list(_names(claims, rules))
    if not names or (user and user.lower() not in map(str.lower, names)):
        return Refused()
    return Identity(names[0])


def _in_time(claims: Mapping[str, object], rules: ClaimRules, now: float) -> bool:
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    # a token that never expires is a password that nobody can change
    if not _is_number(expires) or not _is_number(begins):
        return False
    return now < expires + rules.leeway and now >= begins - rules.leeway  # type: ignore[operator]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _for_us(claims: Mapping[str, object], rules: ClaimRules) -> bool:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    scope = claims.get("scope", claims.get("scp", ""))
    scopes = scope if isinstance(scope, list) else str(scope).split()
    return (
        (not rules.issuer or claims.get("iss") == rules.issuer)
        and (not rules.audience or rules.audience in audiences)
        and (not rules.scope or rules.scope in scopes)
    )


def _names(claims: Mapping[str, object], rules: ClaimRules) -> Iterator[str]:
    for claim in rules.names:
        if claim == "email" and not _verified(claims):
            return
        if name := _name(claims.get(claim)):
            yield name


def _verified(claims: Mapping[str, object]) -> bool:
    """Whether the issuer does not doubt the email: without the claim it vouches for all; "false", 0 and null are no yes.

    OpenID Connect Core, section 5.1: a boolean. There are issuers that write it as text.
    """
    word = claims.get("email_verified", True)
    return word is True or word == "true"


def _name(value: object) -> str:
    """Return the name in a claim as accounts are called, "" where it is none."""
    if not isinstance(value, str) or len(value) > MAX_USER:
        return ""
    try:
        return saslprep(value)
    except PrepError:
        return ""
