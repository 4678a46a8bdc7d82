"""Look at the name that the client greeted with: ten checks, each with its own knob."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from fnmatch import translate
from ipaddress import ip_address
from typing import Literal

from upesi.plugin import (
    Address,
    AddressError,
    Dns,
    Networks,
    OnError,
    Plugin,
    PluginSettings,
    Session,
    Transaction,
    Verdict,
    defer,
    domain_from,
    hook,
    looks_generic,
    reject,
    same_site,
)

# off: not even looked up
Action = Literal["off", "mark", "defer", "reject"]

# Names that mean something in one house only (RFC 6761, RFC 6762, RFC 8375, RFC 9476): nobody greets the world with them
_INNER = frozenset(("localhost", "localdomain", "local", "lan", "home", "internal", "invalid", "test", "alt", "arpa"))

# greetings of one session that are kept; more say nothing new
MAX_NAMES = 8

# nobody else calls himself so, and their addresses have names
_COMPANIES = {
    "google.com": ("google.com",),
    "outlook.com": ("outlook.com",),
    "hotmail.com": ("hotmail.com", "outlook.com"),
    "yahoo.com": ("yahoo.com", "yahoodns.net"),
    "aol.com": ("aol.com", "yahoo.com"),
    "icloud.com": ("icloud.com", "apple.com"),
}

_TEXTS = {
    "patterns": "We take no mail from a client that calls itself {name}",
    "bare_ip": "{name} is no name: an address stands in brackets (RFC 5321 section 4.1.3)",
    "literal_mismatch": "{name} is not your address, which is {client}",
    "valid_hostname": "{name} is not the full name of a host (RFC 5321 section 4.1.1.1)",
    "dynamic": "{name} is the name of an address, not of a mail server",
    "big_company": "{name} has other addresses than yours, {client}",
    "forward_dns": "{name} does not lead to your address, {client}",
    "rdns_match": "{name} has nothing to do with the name of your address, {client}",
    "host_mismatch": "You have called yourself by several names",
    "proto_mismatch": "You have greeted by EHLO and by HELO",
}


class _Greetings:
    """How one session greeted, under one protection: what came before STARTTLS is forgotten (RFC 3207 section 4.2)."""

    __slots__ = ("faults", "judged", "names", "protocols", "secure")

    def __init__(self, secure: bool) -> None:
        self.secure = secure
        self.names: list[str] = []
        self.protocols: set[str] = set()
        # the name that was judged, and what was wrong
        self.judged: str | None = None
        self.faults: list[str] = []


class Helo(Plugin):
    """Check the name in HELO or EHLO; refuse at MAIL, when it is known whether the client has logged in."""

    class Settings(PluginSettings):
        """RFC 5321 section 4.1.4 wants no mail refused for a wrong name alone: all are "mark", but the list that the operator wrote."""

        patterns: Action = "reject"
        bare_ip: Action = "mark"
        literal_mismatch: Action = "mark"
        valid_hostname: Action = "mark"
        dynamic: Action = "mark"
        big_company: Action = "mark"
        forward_dns: Action = "mark"
        rdns_match: Action = "mark"
        host_mismatch: Action = "mark"
        proto_mismatch: Action = "mark"
        # names and patterns with * and ?: "ylmf-pc", "*.bad.example"
        names: tuple[str, ...] = ()
        # names of large providers, and where the names of their addresses end; none: the largest
        companies: dict[str, tuple[str, ...]] | None = None
        trusted: tuple[str, ...] = ()
        on_error: OnError = "continue"

    def __init__(self, settings: Settings, dns: Dns) -> None:
        super().__init__(settings)
        self._dns = dns
        self._trusted = Networks(settings.trusted)
        self._actions: dict[str, Action] = {check: getattr(settings, check) for check in _TEXTS}
        self._names = re.compile("|".join(translate(name.lower()) for name in settings.names) or r"(?!)")
        companies = _COMPANIES if settings.companies is None else settings.companies
        self._companies = {site.lower(): tuple(ends) for site, ends in companies.items()}
        self._local: dict[str, Callable[[str, str], bool]] = {
            "patterns": lambda name, client: self._names.match(name.lower()) is not None,
            "bare_ip": lambda name, client: _address_in(name) is not None,
            "literal_mismatch": _is_other_literal,
            "valid_hostname": lambda name, client: not _is_host(name) and not _is_literal(name),
            "dynamic": lambda name, client: not _is_literal(name) and looks_generic(name, client),
        }

    @hook.helo
    def greeted(self, session: Session, name: str) -> None:
        """Keep how the client greeted; `session` still says how it did before."""
        greetings = _greetings(session)
        if greetings.names:
            greetings.protocols.add(session.protocol)
        if len(greetings.names) < MAX_NAMES and name.lower() not in greetings.names:
            greetings.names.append(name.lower())

    @hook.mail(before=["spf"], deadline="15s")
    def check(self, tx: Transaction, sender: Address) -> Verdict | Awaitable[Verdict | None] | None:
        """Judge the name, once; refuse for the first fault that is to be refused."""
        session = tx.session
        if session.role != "mx" or session.relaying or session.identity is not None:
            return None
        if session.client.address in self._trusted:
            return None
        greetings = _greetings(session)
        if greetings.judged == session.helo:
            return self._refusal(session, greetings.faults)
        return self._judged(session, greetings)

    async def _judged(self, session: Session, greetings: _Greetings) -> Verdict | None:
        greetings.judged = session.helo
        greetings.faults = await self._faults(session, greetings)
        faults = ", ".join(greetings.faults)
        session.results["helo"] = ("fail", faults) if faults else ("pass", session.helo)
        return self._refusal(session, greetings.faults)

    async def _faults(self, session: Session, greetings: _Greetings) -> list[str]:
        """Return the checks that failed, those first that need no DNS."""
        name, client = session.helo, session.client.address
        faults = [check for check, fails in self._local.items() if self._on(check) and fails(name, client)]
        if self._on("host_mismatch") and len(greetings.names) > 1:
            faults.append("host_mismatch")
        if self._on("proto_mismatch") and greetings.protocols - {session.protocol}:
            faults.append("proto_mismatch")
        if _is_host(name):
            faults += await self._asked(session, name)
        return faults

    async def _asked(self, session: Session, name: str) -> list[str]:
        """Return which of the checks failed that need DNS. Where DNS does not say, nothing has failed."""
        faults = []
        ends = self._company(name) if self._on("big_company") else ()
        wants_name = bool(ends) or self._on("rdns_match") or self._on("forward_dns")
        confirmed = (await session.client.hostname()) if wants_name else None
        if ends and not any(_below(confirmed or "", end) for end in ends):
            faults.append("big_company")
        related = confirmed is not None and same_site(confirmed, name)
        if self._on("rdns_match") and confirmed is not None and not related:
            faults.append("rdns_match")
        # a farm of servers greets with one name that leads elsewhere; a true name of the same site is as good
        if self._on("forward_dns") and not related:
            answer = await self._dns.addresses(name)
            if not answer.status.trouble and session.client.address not in answer.texts:
                faults.append("forward_dns")
        return faults

    def _company(self, name: str) -> tuple[str, ...]:
        return next((ends for site, ends in self._companies.items() if _below(name, site)), ())

    def _on(self, check: str) -> bool:
        return self._actions[check] != "off"

    def _refusal(self, session: Session, faults: list[str]) -> Verdict | None:
        if not faults:
            return None
        # a rejection before a deferral: who is refused for good need not come again
        for action in ("reject", "defer"):
            for fault in faults:
                if self._actions[fault] == action:
                    text = _TEXTS[fault].format(name=session.helo, client=session.client.address)
                    return reject("5.7.1", text) if action == "reject" else defer("4.7.1", text)
        return None


def _greetings(session: Session) -> _Greetings:
    found = session.notes.get("helo")
    if not isinstance(found, _Greetings) or found.secure != (session.tls is not None):
        found = session.notes["helo"] = _Greetings(session.tls is not None)
    return found


def _is_literal(name: str) -> bool:
    return name.startswith("[") and name.endswith("]")


def _is_other_literal(name: str, client: str) -> bool:
    if not _is_literal(name):
        return False
    address = _address_in(name[1:-1].lower().removeprefix("ipv6:"))
    return address is None or address != _address_in(client)


def _address_in(text: str) -> str | None:
    """Return the address that `text` is, in its usual spelling."""
    try:
        return str(ip_address(text))
    except ValueError:
        return None


def _is_host(name: str) -> bool:
    """Whether this is a fully qualified name that the world can know."""
    try:
        labels = domain_from(name.removesuffix(".")).split(".")
    except AddressError:
        return False
    return len(labels) > 1 and not _is_literal(name) and labels[-1] not in _INNER


def _below(name: str, site: str) -> bool:
    name = name.lower().removesuffix(".")
    return name == site or name.endswith(f".{site}")
