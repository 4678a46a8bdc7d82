"""Add a text to messages: a notice of the company, a warning that mail comes from outside."""

from __future__ import annotations

from html import escape
from typing import Literal

from upesi.plugin import Plugin, PluginSettings, Transaction, hook

# RFC 5322 section 2.1.1 allows lines of 998 octets; nobody reads a longer text
MAX_TEXT = 10_000

# fields whose signatures a banner breaks
_SIGNATURES = ("DKIM-Signature", "ARC-Message-Signature")


class Banner(Plugin):
    """Put text at the end of the text and of the HTML that is shown."""

    class Settings(PluginSettings):
        """`plain` is needed; `html` is made of it where it is empty."""

        plain: str = ""
        html: str = ""
        # "ours": mail of whoever logged in, or may relay; "strangers": all other mail; "all"
        mail: Literal["ours", "strangers", "all"] = "ours"
        # mail that somebody has signed: a banner breaks the signature, and whoever gets it next may refuse it by DMARC
        signed: Literal["skip", "edit"] = "skip"

        def __post_init__(self) -> None:
            if not self.plain.strip():
                raise ValueError("plain must be the text that is added")
            if len(self.plain) > MAX_TEXT or len(self.html) > MAX_TEXT:
                raise ValueError(f"plain and html have at most {MAX_TEXT} characters")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._html = settings.html or f"<p>{escape(settings.plain.strip()).replace(chr(10), '<br>')}</p>"

    @hook.message(
        after=["dkim", "spf", "arc", "dmarc", "headers", "authentication_results", "quarantine"],
        before=["arc_seal", "dkim_sign"],
    )
    def add(self, tx: Transaction) -> None:
        """Add the text, or say why not."""
        reason = self._reason(tx)
        if reason:
            tx.results["banner"] = ("skip", reason)
            return
        changed = tx.add_text(self._settings.plain, self._html)
        where = ", ".join(path or "message" for path in changed)
        tx.results["banner"] = ("pass", where) if changed else ("skip", "sealed, or no text that can be changed")

    def _reason(self, tx: Transaction) -> str:
        """Return why this message gets no text, "" where it gets it."""
        settings, session = self._settings, tx.session
        ours = session.relaying or session.identity is not None
        if settings.mail != "all" and ours != (settings.mail == "ours"):
            return "not this mail"
        if settings.signed == "skip" and any(tx.headers.count(name) for name in _SIGNATURES):
            return "signed"
        return ""
