"""EXTERNAL (RFC 4422 appendix A): the client has proved who it is outside of SASL, by the certificate of its TLS link.

The names of a certificate that an authority of the operator's has signed may be accounts; the source says which are.
"""

from __future__ import annotations

from upesi.sasl.circumstances import Circumstances
from upesi.sasl.steps import (
    Confirm,
    Failure,
    MechanismFailed,
    Steps,
    admitted,
    authorized,
    challenge,
    decoded,
    prepared_user,
)

__all__ = ["external"]


def external(initial: bytes | None, here: Circumstances) -> Steps:
    """Run EXTERNAL; the response is empty, or the name that the client wants to act as."""
    response = initial if initial is not None else (yield from challenge(b""))
    names = here.link.certificate
    if not names:
        # AUT-09: never offered without a certificate; said all the same, it lets nobody in
        raise MechanismFailed(Failure.WRONG, "no certificate")
    wanted = prepared_user(decoded(response)) if response else ""
    # certificates bear several names: that of the account is the one the client asks for, else the first
    proved = wanted if wanted in names else names[0]
    identity = admitted((yield Confirm(proved)))
    return authorized(identity, proved, wanted)
