"""Received-SPF: one identity's result with what it was made from (RFC 7208 section 9.1).

header-field   = "Received-SPF:" [CFWS] result FWS [comment FWS] [ key-value-list ] CRLF
key-value-pair = key [CFWS] "=" ( dot-atom / quoted-string )
"""

from __future__ import annotations

import re

from upesi.mailauth.spf import SpfOutcome, SpfResult
from upesi.mailauth.words import MAX_WORD, comment, word

__all__ = ["received_spf"]

# every dot-atom is this, and nothing in it needs quotes
_DOT_ATOM = re.compile(r"[0-9A-Za-z!#$%&'*+/=?^_`{|}~\-]+(?:\.[0-9A-Za-z!#$%&'*+/=?^_`{|}~\-]+)*")

_SAYINGS = {
    SpfResult.PASS: "{receiver}: domain of {sender} designates {client} as permitted sender",
    SpfResult.FAIL: "{receiver}: domain of {sender} does not designate {client} as permitted sender",
    SpfResult.SOFTFAIL: "{receiver}: domain of transitioning {sender} does not designate {client} as permitted sender",
    SpfResult.NEUTRAL: "{receiver}: {client} is neither permitted nor denied by domain of {sender}",
    SpfResult.NONE: "{receiver}: domain of {sender} does not provide an SPF record",
    SpfResult.TEMPERROR: "{receiver}: error in processing during lookup of {sender}",
    SpfResult.PERMERROR: "{receiver}: domain of {sender} has a record that cannot be interpreted",
}


def received_spf(outcome: SpfOutcome, *, utf8: bool = False) -> str:
    """Return the value of the field for one outcome; what cannot be quoted is left out."""
    identity = outcome.identity
    said = _SAYINGS[outcome.result].format(receiver=identity.receiver, sender=identity.sender, client=identity.client)
    pairs = (
        ("receiver", identity.receiver),
        ("identity", identity.kind),
        ("client-ip", identity.client),
        ("envelope-from", identity.sender if identity.kind == "mailfrom" else ""),
        ("helo", identity.helo),
        ("mechanism", outcome.mechanism),
        ("problem", outcome.problem),
    )
    shown = ((key, _shown(value, utf8)) for key, value in pairs if value)
    return f"{outcome.result.value} {comment(said)} " + "; ".join(f"{key}={value}" for key, value in shown if value)


def _shown(value: str, utf8: bool) -> str | None:
    value = value[:MAX_WORD]
    if _DOT_ATOM.fullmatch(value):
        return value
    quoted = word(value, utf8=utf8)
    # a token or an address that is no dot-atom: here it needs quotes, and holds nothing that needs more
    return quoted if quoted is None or quoted.startswith('"') else f'"{quoted}"'
