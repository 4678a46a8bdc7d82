"""PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login): the password itself comes over the link.

    message = [authzid] UTF8NUL authcid UTF8NUL passwd

LOGIN is asked for by old clients and nothing else; it sends the same in two answers. Its prompts are what those clients compare.
"""

from __future__ import annotations

from upesi.sasl.steps import (
    CheckPassword,
    Failure,
    MechanismFailed,
    Steps,
    admitted,
    authorized,
    challenge,
    decoded,
    prepared_password,
    prepared_user,
)

__all__ = ["login", "plain"]


def plain(initial: bytes | None) -> Steps:
    """Run PLAIN."""
    message = initial if initial is not None else (yield from challenge(b""))
    parts = message.split(b"\0")
    if len(parts) != 3:
        raise MechanismFailed(Failure.MALFORMED, "not three fields")
    authzid, user, password = map(decoded, parts)
    user = prepared_user(user)
    identity = admitted((yield CheckPassword(user, prepared_password(password))))
    return authorized(identity, user, authzid)


def login(initial: bytes | None) -> Steps:
    """Run LOGIN; an initial response is the user name."""
    name = initial if initial is not None else (yield from challenge(b"Username:"))
    password = yield from challenge(b"Password:")
    user = prepared_user(decoded(name))
    return admitted((yield CheckPassword(user, prepared_password(decoded(password)))))
