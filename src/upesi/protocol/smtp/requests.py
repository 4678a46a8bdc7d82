"""Parameters of MAIL that ask for a special way with the message, and that the session must grant.

    deliverby = "BY=" ["-" / "+"] 1*9DIGIT ";" ("N" / "R") ["T"]       ; RFC 2852 section 4
    holdfor   = "HOLDFOR=" %x31-39 *8DIGIT                             ; RFC 4865 section 4, seconds
    holduntil = "HOLDUNTIL=" date-time                                 ; RFC 4865 with errata 2040: that of RFC 3339
    priority  = "MT-PRIORITY=" ["-"] DIGIT                             ; RFC 6710 section 3
    requiretls = "REQUIRETLS"                                          ; RFC 8689 section 2

A keyword that the listener does not offer is unknown to it: 555.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec

from upesi.mail.timing import ByMode
from upesi.protocol.smtp.limits import ServerLimits
from upesi.protocol.smtp.refusals import TWO_HOLDS, UNKNOWN_PARAMETER, refuse

__all__ = ["REQUESTS", "ByRequest", "Requests", "requests_in"]

_BY = re.compile(r"([+-]?[0-9]{1,9});([NRnr])([Tt]?)")
_HOLDFOR = re.compile(r"[1-9][0-9]{0,8}")
_HOLDUNTIL = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_PRIORITY = re.compile(r"-?[0-9]")


class ByRequest(msgspec.Struct, frozen=True, gc=False):
    """BY: `seconds` from now, which may have passed already where the mode is NOTIFY."""

    seconds: int
    mode: ByMode
    trace: bool = False


class Requests(msgspec.Struct, frozen=True, gc=False):
    """What MAIL asked for: `hold_for` in seconds, `hold_until` in Unix time (never both), `priority` -9 to 9."""

    by: ByRequest | None = None
    hold_for: int | None = None
    hold_until: float | None = None
    priority: int = 0
    requiretls: bool = False


def _matched(pattern: re.Pattern[str], value: str | None) -> re.Match[str]:
    match = pattern.fullmatch(value or "")
    if match is None:
        raise ValueError("not of its grammar")
    return match


def _by(value: str | None, limits: ServerLimits) -> ByRequest:
    if not limits.deliver_by:
        raise refuse(UNKNOWN_PARAMETER)
    seconds, mode, trace = _matched(_BY, value).groups()
    request = ByRequest(int(seconds), ByMode(mode.upper()), bool(trace))
    # RFC 2852 section 4: zero and below only make sense where nothing is returned
    if request.mode is ByMode.RETURN and request.seconds <= 0:
        raise ValueError("the time is over")
    return request


def _hold_for(value: str | None, limits: ServerLimits) -> int:
    if not limits.future_release:
        raise refuse(UNKNOWN_PARAMETER)
    return int(_matched(_HOLDFOR, value)[0])


def _hold_until(value: str | None, limits: ServerLimits) -> float:
    if not limits.future_release:
        raise refuse(UNKNOWN_PARAMETER)
    return datetime.fromisoformat(_matched(_HOLDUNTIL, value)[0].upper()).timestamp()


def _priority(value: str | None, limits: ServerLimits) -> int:
    if not limits.priorities:
        raise refuse(UNKNOWN_PARAMETER)
    return int(_matched(_PRIORITY, value)[0])


def _requiretls(value: str | None, limits: ServerLimits) -> bool:
    if not limits.requiretls:
        raise refuse(UNKNOWN_PARAMETER)
    if value is not None:
        raise ValueError("takes no value")
    return True


_Parser = Callable[[str | None, ServerLimits], object]

# keyword -> field of Requests, and what reads its value or raises ValueError
REQUESTS: Mapping[str, tuple[str, _Parser]] = MappingProxyType(
    {
        "BY": ("by", _by),
        "HOLDFOR": ("hold_for", _hold_for),
        "HOLDUNTIL": ("hold_until", _hold_until),
        "MT-PRIORITY": ("priority", _priority),
        "REQUIRETLS": ("requiretls", _requiretls),
    }
)
_FIELDS = frozenset(field for field, _ in REQUESTS.values())


def requests_in(fields: dict[str, object]) -> Requests | None:
    """Take what belongs to Requests out of `fields`; raise RemoteProtocolError where one forbids the other."""
    if _FIELDS.isdisjoint(fields):
        return None
    requests = Requests(**{name: fields.pop(name) for name in _FIELDS & fields.keys()})  # type: ignore[arg-type]
    if requests.hold_for is not None and requests.hold_until is not None:
        # C109: RFC 4865 section 4
        raise refuse(TWO_HOLDS)
    return requests
