"""iprev: does the client's address have a name that leads back to it (RFC 8601 section 3)?

The lookups are those of `Dns.confirmed`; here is what they mean.
"""

from __future__ import annotations

from upesi.mail.answers import Confirmed
from upesi.mailauth.results import MethodResult

__all__ = ["iprev_result"]


def iprev_result(address: str, found: Confirmed) -> MethodResult:
    """Return what was found of `address` as a result of the method (section 2.7.3)."""
    result, reason = _meaning(found)
    return MethodResult("iprev", result, reason, (("policy.iprev", address),))


def _meaning(found: Confirmed) -> tuple[str, str]:
    if found.names:
        return "pass", ""
    if found.status.trouble:
        return "temperror", "DNS did not say"
    if found.claims:
        return "fail", "no name leads back to the address"
    return "permerror", "the address has no name"
