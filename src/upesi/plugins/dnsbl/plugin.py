"""Ask block lists in DNS about the client, and about the names it gives (RFC 5782)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from upesi.plugin import (
    Address,
    AddressError,
    Clock,
    Dns,
    DnsLists,
    Duration,
    Listing,
    ListZoneSettings,
    Networks,
    OnError,
    Plugin,
    PluginLog,
    PluginSettings,
    Session,
    Transaction,
    Verdict,
    defer,
    domain_from,
    hook,
    reject,
)

Action = Literal["mark", "score", "defer", "reject"]

# addresses that no list has
_OURS = (
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "::1",
    "fc00::/7",
    "fe80::/10",
)
_SAID = {
    "client": "Client {subject}",
    "helo": "HELO name {subject}",
    "sender": "Sender domain {subject}",
    "hostname": "Client name {subject}",
}


class ZoneSettings(ListZoneSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One zone, and what an entry in it means for mail."""

    # "score" adds `score` to the client's; the others count at once
    action: Action = "reject"
    score: float = 1.0
    # ask the list for its own words, and pass them on
    text: bool = True


class Dnsbl(Plugin):
    """Refuse clients that lists know."""

    class Settings(PluginSettings):
        """The zones, and what a sum of scores means."""

        zones: dict[str, ZoneSettings] = {}  # noqa: RUF012 - a default of a Struct is copied
        # for all lists together: a list that is silent lists nobody
        timeout: Duration = Duration("5s")
        # from which sum of scores on `threshold_action` is taken
        threshold: float = 2.0
        threshold_action: Literal["mark", "defer", "reject"] = "reject"
        # clients that are not looked up
        exempt: tuple[str, ...] = _OURS
        on_error: OnError = "continue"  # a list that broke says nothing about the client

        def __post_init__(self) -> None:
            for zone in self.zones:
                domain_from(zone)

    def __init__(self, settings: Settings, dns: Dns, clock: Clock, log: PluginLog) -> None:
        super().__init__(settings)
        if not settings.zones:
            raise ValueError("there are no zones: without one there is nothing to ask")
        self._settings = settings
        self._exempt = Networks(settings.exempt)
        self._lists = DnsLists(settings.zones, dns, clock, log, timeout=float(settings.timeout))
        self._kinds = {kind for zone in settings.zones.values() for kind in zone.of}

    @hook.start
    async def test(self) -> None:
        """Test the zones before the first client comes."""
        await self._lists.test()

    @hook.mail(after=["access", "fcrdns", "helo", "dnswl"], deadline="30s")
    def look_up(self, tx: Transaction, sender: Address) -> Verdict | Awaitable[Verdict | None] | None:
        """Ask about the client and its names; the same client is not asked about twice in a session."""
        session = tx.session
        if self._is_exempt(session):
            session.results["dnsbl"] = ("skip", "not looked up")
            return None
        subjects = self._subjects(session, sender)
        known = session.notes.get("dnsbl")
        if isinstance(known, tuple) and known == (subjects, []) and "hostname" not in self._kinds:
            session.results["dnsbl"] = ("pass", "")
            return None
        return self._looked_up(session, subjects)

    async def _looked_up(self, session: Session, subjects: dict[str, str]) -> Verdict | None:
        if "hostname" in self._kinds:
            subjects["hostname"] = _domain(await session.client.hostname() or "")
        known = session.notes.get("dnsbl")
        if isinstance(known, tuple) and known[0] == subjects:
            listings: list[Listing] = known[1]
        else:
            listings = await self._lists.listings(subjects)
            session.notes["dnsbl"] = (subjects, listings)
        return await self._judge(session, listings)

    def _is_exempt(self, session: Session) -> bool:
        if session.role != "mx" or session.relaying or session.identity is not None:
            return True
        return session.client.address in self._exempt or session.results.get("dnswl", ("",))[0] == "pass"

    def _subjects(self, session: Session, sender: Address) -> dict[str, str]:
        """Return what the zones are asked about, but for the client's name, which must be looked up itself."""
        subjects = {"client": session.client.address} if "client" in self._kinds else {}
        if "helo" in self._kinds:
            subjects["helo"] = _domain(session.helo)
        if "sender" in self._kinds:
            subjects["sender"] = _domain(sender.domain)
        return subjects

    async def _judge(self, session: Session, listings: list[Listing]) -> Verdict | None:
        if not listings:
            session.results["dnsbl"] = ("pass", "")
            return None
        zones = self._settings.zones
        score = sum(zones[zone].score for zone in {each.zone for each in listings} if zones[zone].action == "score")
        evidence = ", ".join(f"{each.zone}={each.code}" for each in listings)
        session.results["dnsbl"] = ("fail", f"{evidence}, score {score:g}" if score else evidence)
        for action in ("reject", "defer"):
            for each in listings:
                if zones[each.zone].action == action:
                    return await self._refusal(each, action)
        if score and score >= self._settings.threshold and self._settings.threshold_action != "mark":
            scored = next(each for each in listings if zones[each.zone].action == "score")
            return await self._refusal(scored, self._settings.threshold_action)
        return None

    async def _refusal(self, listing: Listing, action: str) -> Verdict:
        text = f"{_SAID[listing.kind].format(subject=listing.subject)} is listed by {listing.zone}"
        if listing.meaning:
            text += f" ({listing.meaning})"
        if self._settings.zones[listing.zone].text and (said := await self._lists.text(listing)):
            text += f": {said}"
        return reject("5.7.1", text) if action == "reject" else defer("4.7.1", text)


def _domain(name: str) -> str:
    """Return a name that can be looked up; address literals and what is no name cannot."""
    try:
        domain = domain_from(name) if "." in name else ""
    except AddressError:
        return ""
    return "" if domain.startswith("[") else domain
