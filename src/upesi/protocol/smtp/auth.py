"""The command lines of AUTH (RFC 4954 section 4): the verb with its initial response, and the base64 lines that answer a challenge.

    auth-command     = "AUTH" SP sasl-mech [SP initial-response] *(CRLF [base64]) [CRLF cancel-response]
    initial-response = base64 / "="
    cancel-response  = "*"

base64 is read strictly: no blanks, no other characters, padding exactly where it belongs. Two readings of one line are how a filter in
front of us would be led to see another user than we do. What a mechanism is, and what the octets mean, is not known here.
"""

from __future__ import annotations

import binascii

from upesi.protocol.smtp.events import AuthCommand, AuthResponse
from upesi.protocol.smtp.refusals import BAD_BASE64, needs_argument, refuse

__all__ = ["CANCEL", "challenge_text", "read_auth", "read_response"]

CANCEL = b"*"


def read_auth(argument: str) -> AuthCommand:
    """Read the argument of AUTH: a mechanism and perhaps an initial response, of which "=" is the empty one."""
    mechanism, blank, initial = argument.partition(" ")
    if not mechanism:
        raise needs_argument()
    if not blank:
        return AuthCommand(mechanism.upper(), None)
    return AuthCommand(mechanism.upper(), b"" if initial == "=" else _decode(initial.encode()))


def read_response(line: bytes) -> AuthResponse:
    """Read the answer to a challenge: base64 (an empty line is the empty answer), or the "*" that cancels."""
    return AuthResponse(None if line == CANCEL else _decode(line))


def challenge_text(challenge: bytes) -> str:
    """Return the text of the 334 that carries `challenge`."""
    return binascii.b2a_base64(challenge, newline=False).decode()


def _decode(text: bytes) -> bytes:
    # an empty text is no base64 in strict mode, and is the empty answer
    try:
        return binascii.a2b_base64(text, strict_mode=True) if text else b""
    except binascii.Error:
        # not `from`: the traceback of the cause would hold nothing of use, and the line is a secret
        raise refuse(BAD_BASE64) from None
