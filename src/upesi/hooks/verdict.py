"""A plugin's answer (PLUGINS.md, "Verdicts"). A Verdict is not yet a Reply on the wire: `denied` hooks may override it."""

from __future__ import annotations

import enum

import msgspec

from upesi.mail.reply import Reply

__all__ = ["Verdict", "VerdictKind", "accept", "defer", "reject"]


class VerdictKind(enum.Enum):
    """What a verdict wants."""

    ACCEPT = "accept"
    REJECT = "reject"
    DEFER = "defer"


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """One answer of one hook. `reply` is set for REJECT and DEFER; `plugin` is filled in by the framework for the log.

    `identity` is whom an accept at `auth` lets in; it means nothing elsewhere.
    """

    kind: VerdictKind
    reply: Reply | None = None
    disconnect: bool = False
    final: bool = False
    plugin: str = ""
    identity: str = ""


# as long as the longest user name that AUTH takes (`upesi.sasl.steps.MAX_USER`)
_MAX_IDENTITY = 255

_ACCEPT = Verdict(VerdictKind.ACCEPT)
_ACCEPT_FINAL = Verdict(VerdictKind.ACCEPT, final=True)


def accept(identity: str = "", *, final: bool = False) -> Verdict:
    """Vote for acceptance; with `final`, end the chain (only for plugins that the configuration allows to).

    At `auth` the `identity` is the account that the client may use from now on: the plugin has checked the credentials. Without
    one it is no opinion there. Raises ValueError for what no account can be called.
    """
    if identity:
        if not identity.isprintable() or len(identity) > _MAX_IDENTITY:
            raise ValueError("an identity is one printable line of at most 255 characters")
        return Verdict(VerdictKind.ACCEPT, final=final, identity=identity)
    return _ACCEPT_FINAL if final else _ACCEPT


def reject(
    status: str = "5.7.1", text: str = "Refused", *, code: int | None = None, disconnect: bool = False
) -> Verdict:
    """Refuse for good: 5xx with `status` (class 5) and `text`; raise ValueError for what cannot be sent."""
    return Verdict(VerdictKind.REJECT, _reply(code or 550, 5, status, text), disconnect)


def defer(
    status: str = "4.7.1",
    text: str = "Please try again later",
    *,
    code: int | None = None,
    disconnect: bool = False,
) -> Verdict:
    """Refuse for now: 4xx with `status` (class 4) and `text`; raise ValueError for what cannot be sent."""
    return Verdict(VerdictKind.DEFER, _reply(code or 451, 4, status, text), disconnect)


def _reply(code: int, klass: int, status: str, text: str) -> Reply:
    if code // 100 != klass:
        raise ValueError(f"reply code {code} is not {klass}xx")
    return Reply.make(code, status, text)
