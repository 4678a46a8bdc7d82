"""Ask whether the client's address has a name that leads back to it (forward-confirmed reverse DNS; RFC 8601 section 3, "iprev")."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from upesi.plugin import (
    Address,
    Dns,
    Networks,
    OnError,
    Plugin,
    PluginSettings,
    Session,
    Transaction,
    Verdict,
    defer,
    hook,
    iprev_result,
    looks_generic,
    reject,
)

Action = Literal["mark", "defer", "reject"]

_TEXTS = {
    "missing": "Your address {client} has no name (PTR record)",
    "unconfirmed": "No name of your address {client} leads back to it",
    "generic": "The name of your address {client} is a provider's, not a mail server's",
    "temperror": "The name of your address {client} could not be looked up",
}
# iprev's word for it (RFC 8601 section 2.7.3) -> ours
_FAULTS = {"permerror": "missing", "fail": "unconfirmed", "temperror": "temperror"}


class Fcrdns(Plugin):
    """Look up the client's name; leave the result of iprev, and refuse where the operator says so."""

    class Settings(PluginSettings):
        """All are "mark": honest mail servers without a true name are rare, but there are some."""

        missing: Action = "mark"
        unconfirmed: Action = "mark"
        # a true name that looks like those that providers give to everybody
        generic: Action = "mark"
        # trouble with DNS says nothing about the client
        temperror: Literal["mark", "defer"] = "mark"
        trusted: tuple[str, ...] = ()
        on_error: OnError = "continue"

    def __init__(self, settings: Settings, dns: Dns) -> None:
        super().__init__(settings)
        self._dns = dns
        self._trusted = Networks(settings.trusted)
        self._actions: dict[str, Action] = {fault: getattr(settings, fault) for fault in _TEXTS}

    # at MAIL and not at connect: who logs in may come from anywhere, and a greeting that waits for DNS is late for everybody
    @hook.mail(before=["spf"], deadline="15s")
    def name(self, tx: Transaction, sender: Address) -> Verdict | Awaitable[Verdict | None] | None:
        """Look up once for each session; judge every MAIL alike."""
        session = tx.session
        address = session.client.address
        if session.role != "mx" or session.relaying or session.identity is not None or address in self._trusted:
            return None
        fault = session.notes.get("fcrdns")
        return self._judged(address, fault) if isinstance(fault, str) else self._first(session)

    async def _first(self, session: Session) -> Verdict | None:
        fault = session.notes["fcrdns"] = await self._look_up(session)
        return self._judged(session.client.address, fault)

    def _judged(self, address: str, fault: str) -> Verdict | None:
        action = self._actions.get(fault, "mark")
        if action == "mark":
            return None
        text = _TEXTS[fault].format(client=address)
        # RFC 7372 section 3.3
        return reject("5.7.25", text) if action == "reject" else defer("4.7.25", text)

    async def _look_up(self, session: Session) -> str:
        """Return what is wrong, "" if nothing is; leave the results."""
        address = session.client.address
        try:
            found = await self._dns.confirmed(address)
        except ValueError:
            # a Unix socket has no address
            session.results["fcrdns"] = ("skip", "no address")
            return ""
        result = iprev_result(address, found)
        session.authentication.append(result)
        fault = _FAULTS.get(result.result, "")
        if not fault and all(looks_generic(name, address) for name in found.names):
            fault = "generic"
        if not fault:
            session.results["fcrdns"] = ("pass", found.names[0])
        else:
            names = found.names or found.claims
            session.results["fcrdns"] = (
                "error" if fault == "temperror" else "fail", f"{fault}: {names[0]}" if names else fault
            )  # fmt: skip
        return fault
