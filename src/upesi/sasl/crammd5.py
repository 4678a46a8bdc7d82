"""CRAM-MD5 (RFC 2195): off unless asked for. It needs passwords that are kept readable, and anyone who hears an exchange can try passwords
against it as fast as MD5 goes.
"""

from __future__ import annotations

import hmac

from upesi.sasl.circumstances import Circumstances
from upesi.sasl.credentials import Ability, Refused, SharedSecret, Unavailable
from upesi.sasl.steps import (
    Failure,
    FetchKeys,
    MechanismFailed,
    Steps,
    challenge,
    decoded,
    prepared_user,
)

__all__ = ["cram_md5"]


def cram_md5(initial: bytes | None, here: Circumstances) -> Steps:
    """Run CRAM-MD5: the server speaks first, so an initial response is an error (RFC 4422 section 3)."""
    if initial is not None:
        raise MechanismFailed(Failure.MALFORMED, "an initial response")
    # RFC 2195 section 2: in the form of a message id; no two are alike, so an old answer is of no use (AUT-03)
    question = f"<{here.nonce()}.{int(here.now)}@{here.hostname}>".encode()
    name, blank, digest = decoded((yield from challenge(question))).rpartition(" ")
    if not blank:
        raise MechanismFailed(Failure.MALFORMED, "not two fields")
    answer = yield FetchKeys(prepared_user(name), Ability.SHARED_SECRET)
    if isinstance(answer, Unavailable):
        raise MechanismFailed(Failure.UNAVAILABLE, answer.cause)
    # an unknown user's answer is computed and compared too, and is never right
    secret = answer.password.encode() if isinstance(answer, SharedSecret) else here.secret
    right = hmac.compare_digest(hmac.new(secret, question, "md5").hexdigest().encode(), digest.lower().encode())
    if not isinstance(answer, SharedSecret | Refused | None):
        raise MechanismFailed(Failure.UNAVAILABLE, f"the source answered {type(answer).__name__}")
    # before the proof nobody is told that an account is closed, or that there is none
    if not isinstance(answer, SharedSecret) or not right:
        raise MechanismFailed(Failure.WRONG)
    return answer.identity
