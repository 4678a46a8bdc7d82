"""Asks lists in DNS for a plugin (`upesi.mailauth.dnsxl`): all zones at once within one deadline, and tests whether they can be believed.

A list that lies is not asked until it passes its test; that is told once. Tests run at start, and then beside the first questions behind
their time, so that nothing runs while nobody asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from typing import Literal

import msgspec

from upesi.hooks.asking import Dns
from upesi.hooks.services import Clock, PluginLog
from upesi.mail.answers import Answer, Status
from upesi.mailauth.dnsxl import (
    TEST_ADDRESSES,
    TEST_NAMES,
    ListHealth,
    ListZone,
    code_patterns,
    list_query,
    said_by,
    zone_text,
)

__all__ = ["MAX_ZONES", "DnsLists", "ListSubject", "ListZoneSettings", "Listing"]

# zones of one plugin: each is a question for each client, and beyond a few none says anything new
MAX_ZONES = 20

# of the client its address, of the others the domain; "hostname" is the client's confirmed name
ListSubject = Literal["client", "helo", "sender", "hostname"]


class ListZoneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One zone."""

    # what is looked up in it
    of: tuple[ListSubject, ...] = ("client",)
    # what its answers mean ("127.0.0.2" = "spam source"; "127.0.0.4-7", "127.0.*.3"); others are no listing. None: every answer is one
    answers: dict[str, str] = {}
    # answers that mean that it does not answer us
    refusals: tuple[str, ...] = ("127.255.255.*",)


class Listing(msgspec.Struct, frozen=True):
    """One entry: `subject` is what was looked up, `code` the answer, `meaning` what the configuration says of it."""

    zone: str
    kind: str
    subject: str
    code: str
    meaning: str


class _Zone:
    """One zone, with what is known of its health."""

    __slots__ = ("health", "of", "zone")

    def __init__(self, name: str, settings: ListZoneSettings, interval: float, pause: float) -> None:
        refusals = dict.fromkeys(settings.refusals, "")
        self.zone = ListZone(name, code_patterns(settings.answers), code_patterns(refusals))
        self.of = settings.of
        self.health = ListHealth(interval, pause)

    @property
    def tests(self) -> tuple[str, str]:
        """What is looked up to test it: lists of addresses and of names have other entries."""
        return TEST_ADDRESSES if "client" in self.of else TEST_NAMES


class DnsLists:
    """The zones of one plugin."""

    __slots__ = ("_clock", "_dns", "_log", "_timeout", "_zones")

    def __init__(
        self,
        zones: Mapping[str, ListZoneSettings],
        dns: Dns,
        clock: Clock,
        log: PluginLog,
        *,
        timeout: float,
        interval: float = 3600.0,
        pause: float = 600.0,
    ) -> None:
        """All of one question is asked within `timeout` seconds; `interval` and `pause` are those of `ListHealth`. Raises ValueError."""
        if len(zones) > MAX_ZONES:
            raise ValueError(f"more than {MAX_ZONES} zones")
        self._dns = dns
        self._clock = clock
        self._log = log
        self._timeout = timeout
        self._zones = [_Zone(name, settings, interval, pause) for name, settings in zones.items()]

    async def test(self) -> None:
        """Test the zones whose time has come."""
        await self._within(self._test(zone) for zone in self._due())

    async def listings(self, subjects: Mapping[str, str]) -> list[Listing]:
        """Return what the zones have of `subjects`, by their kinds. What is silent at the deadline has nothing."""
        tests = [self._test(zone) for zone in self._due()]
        asked = [
            self._ask(zone, kind, subjects[kind])
            for zone in self._zones
            if not zone.health.why
            for kind in zone.of
            if subjects.get(kind)
        ]
        found = await self._within([*asked, *tests])
        # a test that ended meanwhile may have found that a zone lies
        lying = {zone.zone.name for zone in self._zones if zone.health.why}
        return [listing for listing in found if listing.zone not in lying]

    async def text(self, listing: Listing) -> str:
        """Return the list's own words about an entry, fit for a reply; "" where it has none, or not in time."""
        name = list_query(listing.subject, listing.zone)
        try:
            async with asyncio.timeout(self._timeout):
                return zone_text(await self._dns.txt(name)) if name else ""
        except TimeoutError:
            return ""

    def _due(self) -> list[_Zone]:
        now = self._clock.monotonic()
        return [zone for zone in self._zones if zone.health.due(now)]

    async def _within(self, work: Iterable[Coroutine[None, None, list[Listing]]]) -> list[Listing]:
        """Run all at once; return what was found until the deadline."""
        tasks = [asyncio.create_task(each) for each in work]
        if not tasks:
            return []
        try:
            done, _ = await asyncio.wait(tasks, timeout=self._timeout)
        finally:
            for task in tasks:
                task.cancel()
        # in the order of the zones, so that the same client gets the same answer
        return [listing for task in tasks if task in done for listing in task.result()]

    async def _ask(self, zone: _Zone, kind: str, subject: str) -> list[Listing]:
        codes, why = said_by(zone.zone, await self._answer(subject, zone.zone.name))
        if why:
            self._disbelieve(zone, new=zone.health.suspect(why, self._clock.monotonic()))
        return [
            Listing(zone.zone.name, kind, subject, code, zone.zone.meaning(code) or "") for code in dict.fromkeys(codes)
        ]

    async def _test(self, zone: _Zone) -> list[Listing]:
        if not zone.health.due(self._clock.monotonic()):
            return []
        before = zone.health.why
        listed, unlisted = [await self._answer(subject, zone.zone.name) for subject in zone.tests]
        # a client's entry showed meanwhile that it lies: a test that was begun before is no defence
        if zone.health.why != before:
            return []
        self._disbelieve(zone, new=zone.health.tested(zone.zone, listed, unlisted, self._clock.monotonic()))
        return []

    async def _answer(self, subject: str, zone: str) -> Answer:
        name = list_query(subject, zone)
        return await self._dns.query(name, "A") if name else Answer(Status.NXDOMAIN)

    def _disbelieve(self, zone: _Zone, *, new: bool) -> None:
        """Tell the operator of a change."""
        if new and zone.health.why:
            self._log("zone_disabled", zone=zone.zone.name, reason=zone.health.why)
        elif new:
            self._log("zone_restored", zone=zone.zone.name)
