"""Make clients wait that others found bad: each reply comes later, the more refusals and failed checks there were.

The server slows down clients with many errors by itself (`smtp.soft_errors`); this is for those that plugins know.
"""

from __future__ import annotations

from upesi.plugin import Address, Denial, Duration, Note, OnError, Plugin, PluginSettings, Session, Transaction, hook

__all__ = ["DELAY", "Tarpit"]

# seconds that another plugin asks for: tarpit.DELAY.set(session, 10.0)
DELAY = Note("tarpit.delay", float)


class Tarpit(Plugin):
    """Set `session.delay` by what was refused and what checks found."""

    class Settings(PluginSettings):
        """A reply that waits costs a timer; `smtp.max_delayed` bounds how many wait at once."""

        # for each refusal and each failed check
        delay: Duration = Duration("2s")
        # never more than this for one reply
        limit: Duration = Duration("20s")
        # whose refusals count; none: everybody's
        plugins: tuple[str, ...] = ()
        # whose result "fail" counts, in the session or the transaction
        results: tuple[str, ...] = ()
        on_error: OnError = "continue"  # to be slow is no service that mail depends on

        def __post_init__(self) -> None:
            # RFC 5321 section 4.5.3.2: clients wait five minutes for most replies, and some for less
            if not 0 <= self.delay <= self.limit <= 120:
                raise ValueError("limit: must be between delay and 2m: clients would take us for dead")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._delay = float(settings.delay)
        self._limit = float(settings.limit)
        self._plugins = frozenset(settings.plugins)
        self._results = settings.results

    @hook.denied
    def refused(self, session: Session, denial: Denial) -> None:
        """Count a refusal; it is told late already."""
        if not self._plugins or denial.verdict.plugin in self._plugins:
            count = session.notes.get("tarpit.refusals")
            session.notes["tarpit.refusals"] = (count if isinstance(count, int) else 0) + 1
            self._slow(session, denial.transaction)

    @hook.mail
    def mail(self, tx: Transaction, sender: Address) -> None:
        """Look at what the checks of the session found."""
        self._slow(tx.session, tx)

    @hook.data
    def data(self, tx: Transaction) -> None:
        """Look at what the checks of the envelope found."""
        self._slow(tx.session, tx)

    def _slow(self, session: Session, tx: Transaction | None) -> None:
        if session.relaying or session.identity is not None:
            return
        count = session.notes.get("tarpit.refusals")
        steps = (count if isinstance(count, int) else 0) + self._failed(session, tx)
        delay = min(self._limit, steps * self._delay + (DELAY.get(session) or 0.0))
        if delay > session.delay:
            session.delay = delay
            session.results["tarpit"] = ("fail", f"{delay:g} s")

    def _failed(self, session: Session, tx: Transaction | None) -> int:
        """Return how many of the named checks failed."""
        if not self._results or not (session.has_results or tx is not None):
            return 0
        found = {**session.results, **(tx.results if tx is not None else {})}
        return sum(found.get(name, ("", ""))[0] == "fail" for name in self._results)
