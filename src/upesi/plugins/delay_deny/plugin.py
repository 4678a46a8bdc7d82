"""Hold rejections of connect, helo and mail until RCPT: then the log knows whom the mail was for, and exemptions can still be made.

Many senders' software gives up without telling anybody where it is refused before RCPT, and tries again for days.
"""

from __future__ import annotations

import msgspec

from upesi.plugin import (
    Denial,
    Plugin,
    PluginSettings,
    Session,
    Transaction,
    TransactionRecipient,
    Verdict,
    accept,
    hook,
)

_POINTS = ("connect", "helo", "mail")
_OVERRIDE = accept()


class Held(msgspec.Struct, frozen=True):
    """A refusal that waits: where it was said, and what."""

    point: str
    verdict: Verdict


class DelayDeny(Plugin):
    """Let the session go on behind a refusal, and say it to each recipient."""

    class Settings(PluginSettings):
        """Without `plugins` the refusals of all plugins are held."""

        # whose refusals are held; none: everybody's
        plugins: tuple[str, ...] = ()
        # whose are not, however that list is
        except_plugins: tuple[str, ...] = ()
        # where: connect, helo, mail
        points: tuple[str, ...] = _POINTS
        # recipients that get mail in spite of a held refusal: local parts ("postmaster") or addresses
        exempt: tuple[str, ...] = ()

        def __post_init__(self) -> None:
            for point in self.points:
                if point not in _POINTS:
                    raise ValueError(f"points: {point!r} is none of {', '.join(_POINTS)}")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._plugins = frozenset(settings.plugins)
        self._except = frozenset(settings.except_plugins)
        self._points = frozenset(settings.points)
        self._exempt = frozenset(entry.lower() for entry in settings.exempt)

    @hook.denied
    def hold(self, session: Session, denial: Denial) -> Verdict | None:
        """Take note of a refusal, the first of each kind, and let the session go on."""
        if denial.point not in self._points or not self._holds(denial.verdict.plugin):
            return None
        held = Held(denial.point, denial.verdict)
        # a refusal at `mail` is of that transaction, one before it is of the whole session
        notes = session.notes if denial.transaction is None else denial.transaction.notes
        known = notes.setdefault("delay_deny.held", held)
        if known is held:
            results = session.results if denial.transaction is None else denial.transaction.results
            results["delay_deny"] = ("fail", f"{denial.verdict.plugin} at {denial.point}: {denial.verdict.reply}")
        return _OVERRIDE

    @hook.rcpt(before=["access", "aliases", "batv", "greylist", "recipients", "srs"])
    def refuse(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """Say what was held."""
        session = tx.session
        # who has logged in since, or may send anywhere, is no stranger whatever a list says of its address
        if session.relaying or session.identity is not None:
            return None
        held = session.notes.get("delay_deny.held") or tx.notes.get("delay_deny.held")
        if not isinstance(held, Held) or self._is_exempt(recipient):
            return None
        return held.verdict

    def _holds(self, plugin: str) -> bool:
        return plugin not in self._except and (not self._plugins or plugin in self._plugins)

    def _is_exempt(self, recipient: TransactionRecipient) -> bool:
        if not self._exempt:
            return False
        return recipient.address.local.lower() in self._exempt or recipient.address.key in self._exempt
