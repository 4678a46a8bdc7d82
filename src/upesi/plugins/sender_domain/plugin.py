"""Ask whether the domain of MAIL FROM can be answered at all: it exists, takes mail, and not at an address of nowhere."""

from __future__ import annotations

from collections.abc import Awaitable
from ipaddress import ip_address
from typing import Literal

from upesi.plugin import (
    Address,
    Asking,
    Dns,
    Networks,
    OnError,
    Plugin,
    PluginSettings,
    Question,
    Transaction,
    Verdict,
    defer,
    domain_from,
    hook,
    reject,
    then,
)

Action = Literal["mark", "defer", "reject"]

# MX hosts whose addresses are looked at; one good address is enough, and nobody honest lists more bad ones in front of it
MAX_HOSTS = 5

# Loopback, private, link-local, shared, documentation, multicast and reserved ones (RFC 6890; of IPv6 all but 2000::/3): a notice would
# come back to ourselves, or to a neighbour
_NOWHERE = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
    "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    "::/3", "4000::/2", "8000::/1", "2001:db8::/32",
)  # fmt: skip

_FAULTS = {
    "missing": (".1.8", "The domain of the sender, {domain}, has neither MX nor address records"),
    # RFC 7505 section 4.2
    "null_mx": (".7.27", "Sender address has null MX"),
    "bogus": (".1.8", "The domain of the sender, {domain}, has its mail sent to where nobody can reach it"),
    "temperror": (".4.3", "The domain of the sender, {domain}, could not be looked up"),
}


class SenderDomain(Plugin):
    """Refuse senders that nobody could answer, nor send a notice to."""

    class Settings(PluginSettings):
        """A domain that does not exist is no sender's; DNS trouble may pass."""

        missing: Action = "reject"
        null_mx: Action = "reject"
        bogus: Action = "reject"
        temperror: Literal["mark", "defer"] = "defer"
        # domains that may send although nothing of this is right: those of our own applications
        exempt: tuple[str, ...] = ()
        on_error: OnError = "defer"

    def __init__(self, settings: Settings, dns: Dns) -> None:
        super().__init__(settings)
        self._dns = dns
        self._nowhere = Networks(_NOWHERE)
        self._exempt = frozenset(domain_from(domain) for domain in settings.exempt)
        self._actions: dict[str, Action] = {fault: getattr(settings, fault) for fault in _FAULTS}

    # before what costs more
    @hook.mail(before=["spf"], deadline="15s")
    def answerable(self, tx: Transaction, sender: Address) -> Verdict | Awaitable[Verdict | None] | None:
        """Look up the domain; a null reverse-path and address literals have none."""
        domain = sender.domain
        session = tx.session
        if not domain or domain[0] == "[" or domain in self._exempt:
            return None
        if session.role != "mx" or session.relaying or session.identity is not None:
            return None
        return then(self._dns, self._fault(domain), lambda found: self._judged(tx, domain, *found))

    def _judged(self, tx: Transaction, domain: str, fault: str, evidence: str) -> Verdict | None:
        if not fault:
            tx.results["sender_domain"] = ("pass", evidence)
            return None
        tx.results["sender_domain"] = ("error" if fault == "temperror" else "fail", f"{fault}: {evidence}")
        action = self._actions[fault]
        if action == "mark":
            return None
        status, text = _FAULTS[fault]
        text = text.format(domain=domain)
        return reject(f"5{status}", text) if action == "reject" else defer(f"4{status}", text)

    def _fault(self, domain: str) -> Asking[tuple[str, str]]:
        """Return what is wrong with `domain`, "" if nothing is, and what was looked at."""
        answer = yield Question(domain, "MX")
        if answer.status.trouble:
            return "temperror", domain
        if not answer.mx:
            # RFC 5321 section 5.1: without MX records, the domain itself is the host
            return (yield from self._of_addresses(domain, "missing")), domain
        hosts = [record.exchange for record in sorted(answer.mx) if record.exchange]
        if not hosts:
            return "null_mx", domain
        faults = []
        for host in hosts[:MAX_HOSTS]:
            fault = "bogus" if _is_address(host) else (yield from self._of_addresses(host, "bogus"))
            if not fault:
                return "", host
            faults.append(fault)
        # one that could not be looked up might have been the good one
        return ("temperror" if "temperror" in faults or len(hosts) > MAX_HOSTS else "bogus"), hosts[0]

    def _of_addresses(self, host: str, none: str) -> Asking[str]:
        """Return what is wrong with a host's addresses; `none` where it has none. One good address is enough, and IPv4 nearly always is."""
        found, trouble = False, False
        for kind in ("A", "AAAA"):
            answer = yield Question(host, kind)
            if any(text not in self._nowhere for text in answer.texts):
                return ""
            found = found or bool(answer.texts)
            trouble = trouble or answer.status.trouble
        if found:
            return "bogus"
        return "temperror" if trouble else none


def _is_address(host: str) -> bool:
    """Whether an MX record has an address in place of a name, which RFC 5321 section 5.1 does not allow."""
    # no name of a host ends in a digit but an address; asking the library takes ten times as long
    if not host[-1:].isdigit() and ":" not in host:
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
