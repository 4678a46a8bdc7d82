"""What a token says of its owner (RFC 7519 section 4, RFC 7662 section 2.2), and whether that lets anybody in here.

Both ways to a token's claims end here, so that a signature and an issuer's word are judged alike: what has expired, is for another
service, comes from another issuer or lacks the scope is refused (AUT-09).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from upesi.sasl.credentials import Identity, Refused
from upesi.sasl.saslprep import PrepError, saslprep
from upesi.sasl.steps import MAX_USER

__all__ = ["ClaimRules", "owner"]


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold. Empty texts ask for nothing.

    `names` are the claims that may name the account, the first that is there does. `leeway` in seconds, for clocks that differ.
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
    names = [name for claim in rules.names if (name := _name(claims, claim))]
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


def _name(claims: Mapping[str, object], claim: str) -> str:
    """Return the name in a claim as accounts are called, "" where it is none."""
    value = claims.get(claim)
    # an address that its owner only claims to have is no name (OpenID Connect Core, section 5.1)
    if (
        not isinstance(value, str)
        or len(value) > MAX_USER
        or (claim == "email" and claims.get("email_verified") is False)
    ):
        return ""
    try:
        return saslprep(value)
    except PrepError:
        return ""
