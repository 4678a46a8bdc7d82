"""Set mail aside that other plugins found suspect: hold it for an operator, or send it somewhere else than to its recipients."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal

from upesi.plugin import HostRoute, MaildirRoute, Plugin, PluginSettings, Result, Route, Transaction, domain_from, hook

# what other plugins leave in the transaction's notes to have a message set aside: the reason
NOTE = "quarantine"
MAX_REASON = 200
_SMTP_PORT = 25


class Quarantine(Plugin):
    """Set aside what the notes, or results of other plugins, call suspect."""

    class Settings(PluginSettings):
        """`to` is "hold", "maildir:/FOLDER" or "smtp://HOST:PORT"."""

        # the message waits in the queue, and operators release or cancel it: nothing is lost, and nothing more must be set up
        to: str = "hold"
        # results that set mail aside besides the note, as "NAME=RESULT": ("spam=fail", "dmarc=fail")
        results: tuple[str, ...] = ()
        # a field that says why
        field: str = "X-Quarantine"
        # "all": mail of our own people too
        mail: Literal["strangers", "all"] = "all"

        def __post_init__(self) -> None:
            _route(self.to)
            for condition in self.results:
                name, equals, result = condition.partition("=")
                if not (name and equals and result):
                    raise ValueError(f"{condition!r} is no condition: NAME=RESULT")

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings
        self._route = _route(settings.to)
        self._conditions = tuple(tuple(condition.split("=", 1)) for condition in settings.results)

    @hook.message(
        after=["dkim", "spf", "arc", "dmarc", "headers", "authentication_results", "dnsbl"],
        before=["arc_seal", "dkim_sign"],
    )
    def judge(self, tx: Transaction) -> None:
        """Set the message aside if somebody wants that."""
        session = tx.session
        if self._settings.mail == "strangers" and (session.relaying or session.identity is not None):
            tx.results["quarantine"] = ("skip", "one of ours")
            return
        reason = self._reason(tx)
        if not reason:
            tx.results["quarantine"] = ("pass", "")
            return
        tx.results["quarantine"] = ("fail", reason)
        if self._settings.field:
            tx.add_header(self._settings.field, reason)
        if self._route is None:
            tx.hold = f"quarantine: {reason}"
            return
        for recipient in tx.recipients:
            recipient.route = self._route

    def _reason(self, tx: Transaction) -> str:
        """Return why the message is suspect, on one line of ASCII; "" where it is not."""
        noted = tx.notes.get(NOTE)
        if noted:
            return _line(str(noted))
        for results in (tx.results, tx.session.results):
            for name, result in self._conditions:
                found = _found(results, name, result)
                if found:
                    return _line(found)
        return ""


def _found(results: Mapping[str, Result], name: str, result: str) -> str:
    got = results.get(name)
    return f"{name}: {got[0]} {got[1]}".rstrip() if got is not None and got[0] == result else ""


def _line(text: str) -> str:
    """Evidence may be a stranger's words, and goes into a header field and the queue's list."""
    return "".join(character if " " <= character <= "~" else "?" for character in text[:MAX_REASON])


def _route(to: str) -> Route | None:
    """Return the route of `to`, None for "hold"; raise ValueError."""
    if to == "hold":
        return None
    kind, _, rest = to.partition(":")
    if kind == "maildir" and rest.startswith("/"):
        return MaildirRoute(rest)
    if kind == "smtp" and rest.startswith("//"):
        host, colon, port = rest[2:].rpartition(":")
        if not colon or "]" in port:
            host, port = rest[2:], str(_SMTP_PORT)
        if port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            return HostRoute(_host(host), int(port))
    raise ValueError(f'{to!r} is no place for suspect mail: "hold", "maildir:/FOLDER" or "smtp://HOST:PORT"')


def _host(text: str) -> str:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return domain_from(text)
