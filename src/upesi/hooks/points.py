"""Every hook point as one row of a table: what a hook gets, what it may answer, what its failure becomes (PLUGINS.md).

The order of the table is the order in which the points fire. Build, dispatch, documentation and tests read this table; nothing
else knows which points there are.
"""

from __future__ import annotations

import enum
from types import MappingProxyType

import msgspec

from upesi.config.problems import nearest
from upesi.config.units import Duration
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.reply import Reply
from upesi.mail.route import (
    DiscardRoute,
    HostRoute,
    HttpRoute,
    LmtpRoute,
    MaildirRoute,
    MxRoute,
    PipeRoute,
    QuarantineRoute,
    check_route,
)

__all__ = ["POINTS", "Point", "Report", "point_named"]

_KINDS: tuple[type, ...] = (VerdictKind,)
_ACCEPT, _REJECT, _DEFER = VerdictKind.ACCEPT, VerdictKind.REJECT, VerdictKind.DEFER
_ROUTES = (MxRoute, HostRoute, LmtpRoute, MaildirRoute, PipeRoute, HttpRoute, DiscardRoute)
_ALL_ROUTES = (*_ROUTES, QuarantineRoute)


class Report(enum.Enum):
    """What a `bounced` hook may say about the notice to the sender."""

    SUPPRESS = "suppress"


class Point(msgspec.Struct, frozen=True):
    """One hook point.

    `arguments` are what the plugin's function is called with; `kinds` the verdicts and `answers` the other values that it
    may return besides None (the first of the latter ends the chain). `defers` says that a failure of a plugin whose
    `on_error` is "defer" becomes 451 4.3.0; where it is False there is nobody to defer, and a failure is logged and counted only.
    """

    name: str
    arguments: tuple[str, ...]
    kinds: frozenset[VerdictKind] = frozenset()
    answers: tuple[type, ...] = ()
    defers: bool = True

    def takes(self, answer: object) -> bool:
        """Whether `answer` is one that a hook of this point may give; raise TypeError for a route that cannot be kept."""
        # by type and not by attribute: an object of the plugin's own could do anything when it is asked
        if type(answer) is Verdict:
            return answer.kind in self.kinds and _sound(answer)
        if type(answer) is Reply:
            return Reply in self.answers and _told(answer)
        # not isinstance, which asks the object itself for its class
        if not issubclass(type(answer), self.answers):
            return False
        if issubclass(type(answer), _ALL_ROUTES):
            check_route(answer)
        return True

    @property
    def expects(self) -> str:
        """The allowed answers in words, for the message about a wrong one."""
        words = [kind.value for kind in VerdictKind if kind in self.kinds]
        return ", ".join([*words, *(kind.__name__ for kind in self.answers), "None"])


def _sound(verdict: Verdict) -> bool:
    """Whether a refusal would be told as one (a REJECT with a 250 in it must never reach a client), and an identity is a line of text.

    Verdicts that were made by `accept`, `reject` and `defer` are; what is caught here was put together by hand.
    """
    flags: tuple[object, ...] = (verdict.disconnect, verdict.final)
    if type(verdict.kind) not in _KINDS or any(type(flag) is not bool for flag in flags):
        return False
    if verdict.kind is VerdictKind.ACCEPT:
        return type(verdict.identity) is str and verdict.identity.isprintable()
    reply = verdict.reply
    if reply is None:
        return True
    klass = 5 if verdict.kind is VerdictKind.REJECT else 4
    return type(reply) is Reply and _told(reply) and reply.code // 100 == klass


def _told(reply: Reply) -> bool:
    """Whether the octets of `reply` say what its fields say."""
    return type(reply.code) is int and Reply.make(reply.code, reply.status, *reply.lines).wire == reply.wire


def _table(*points: Point) -> MappingProxyType[str, Point]:
    return MappingProxyType({point.name: point for point in points})


_JUDGED = frozenset({_ACCEPT, _REJECT, _DEFER})
_REFUSED = frozenset({_REJECT, _DEFER})

POINTS = _table(
    Point("start", (), defers=False),
    Point("connect", ("session",), _JUDGED),
    Point("helo", ("session", "name"), _REFUSED),
    Point("capabilities", ("session", "keywords"), _REFUSED),
    Point("auth", ("session", "credentials"), _JUDGED),
    Point("command", ("session", "verb", "argument"), answers=(Reply,)),
    Point("mail", ("tx", "sender"), _JUDGED),
    Point("rcpt", ("tx", "recipient"), _JUDGED),
    Point("route", ("tx", "recipient"), answers=(*_ROUTES, QuarantineRoute)),
    Point("data", ("tx",), _REFUSED),
    Point("message", ("tx",), _JUDGED),
    Point("queued", ("tx",), defers=False),
    # fires inside the others, whenever one of their hooks rejected or deferred
    Point("denied", ("session", "denial"), frozenset({_ACCEPT})),
    Point("reset", ("tx",), defers=False),
    Point("disconnect", ("session",), defers=False),
    Point("attempt", ("message", "delivery"), answers=(Duration, *_ROUTES)),
    Point("resolve", ("domain",), answers=(tuple, list)),
    Point("delivered", ("message", "recipient", "outcome"), defers=False),
    Point("deferred", ("message", "recipient", "outcome"), answers=(Duration,), defers=False),
    Point("bounced", ("message", "recipient", "outcome"), answers=(Report,), defers=False),
    Point("stop", (), defers=False),
)


def point_named(name: str) -> Point:
    """Return the point of that name; raise AttributeError with the nearest one."""
    point = POINTS.get(name)
    if point is None:
        raise AttributeError(f"there is no hook point {name!r}{nearest(name, POINTS)}")
    return point
