"""How long one client is waited for: numbers that the listener's sweep looks at about once a second; no timer for each session.

What is kept is when a wait began, not when it ends: so when the worker is overloaded and `smtp.timeouts` become shorter, they are
shorter for those who wait already, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from upesi.mail.reply import Reply
from upesi.session import replies

if TYPE_CHECKING:
    from upesi.config.settings import SmtpSettings

__all__ = ["Patience"]

Verdict = tuple[Reply, str]

# the most that one look can add: between two looks a session may have waited for a hook, which is not its client's fault
_LOOK: Final = 2.0

_TIMEOUT: Final[Verdict] = (replies.TIMEOUT, "timeout")
_TOO_LONG: Final[Verdict] = (replies.SESSION_TOO_LONG, "timeout")
_TOO_SLOW: Final[Verdict] = (replies.TOO_SLOW, "too slow")


class Patience:
    """With one client. All times are of the loop's clock."""

    __slots__ = ("_base", "_began", "_commands", "_content", "_dawdled", "_looked", "_since")

    def __init__(self, now: float) -> None:
        self._began = self._since = self._looked = now
        # how many commands had come when the wait began
        self._commands = -1
        # when message data began to come, 0.0 while none comes, and how many octets of the session had come by then
        self._content = 0.0
        self._base = 0
        # seconds for which a command line lay about unfinished, in the whole session
        self._dawdled = 0.0

    def await_content(self, now: float, octets: int) -> None:
        """Wait for message data; `octets` have come so far."""
        self._since = now
        if not self._content:
            self._content = now
            self._base = octets

    def await_command(self, now: float, commands: int) -> None:
        """Wait for a command; `commands` have come so far."""
        self._content = 0.0
        if commands != self._commands:
            # octets that make no command buy no time (FLD-03)
            self._commands = commands
            self._since = now

    def forgive(self, seconds: float) -> None:
        """Count so many seconds for nothing: we were not there to hear."""
        self._since += seconds
        self._began += seconds
        self._looked += seconds
        if self._content:
            self._content += seconds

    def ended(
        self, now: float, settings: SmtpSettings, octets: int, *, unfinished: bool, stranger: bool = False
    ) -> Verdict | None:
        """Return why the client is waited for no longer, and what to say; None while it is.

        `unfinished`: part of a command is here. `stranger`: it must log in and has not, and so keeps a place from those who can.
        """
        timeouts = settings.timeouts
        passed, self._looked = min(now - self._looked, _LOOK), now
        if now - self._since >= (timeouts.data_block if self._content else timeouts.command):
            return _TIMEOUT
        if now - self._began >= (timeouts.login if stranger else timeouts.session):
            return _TOO_LONG
        if self._content:
            return _TOO_SLOW if self._drips(now - self._content, settings, octets) else None
        if unfinished:
            # Honest clients send a line at once. Only who drips is found at it again and again, so looking now and then is enough
            self._dawdled += passed
            if self._dawdled >= settings.min_rate_after:
                return _TOO_SLOW
        return None

    def _drips(self, seconds: float, settings: SmtpSettings, octets: int) -> bool:
        """Whether message data comes too slowly (FRM-24): this bounds how long a drip feed holds a session."""
        return seconds >= settings.min_rate_after and octets - self._base < settings.min_rate * seconds
