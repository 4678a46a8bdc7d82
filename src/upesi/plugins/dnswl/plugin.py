"""Ask allow lists in DNS about the client (RFC 5782): who is on one is spared greylisting and block lists."""

from __future__ import annotations

from upesi.plugin import (
    Address,
    Clock,
    Dns,
    DnsLists,
    Duration,
    ListZoneSettings,
    OnError,
    Plugin,
    PluginLog,
    PluginSettings,
    Transaction,
    domain_from,
    hook,
)


class Dnswl(Plugin):
    """Leave "pass" in the results of sessions whose client is on an allow list."""

    class Settings(PluginSettings):
        """The zones."""

        zones: dict[str, ListZoneSettings] = {}  # noqa: RUF012 - a default of a Struct is copied
        # for all lists together: a list that is silent lists nobody
        timeout: Duration = Duration("5s")
        on_error: OnError = "continue"  # a list that broke says nothing about the client

        def __post_init__(self) -> None:
            for name, zone in self.zones.items():
                domain_from(name)
                if zone.of != ("client",):
                    # a name is what the client says, and whoever likes can say it
                    raise ValueError(f"{name}: an allow list is asked about the client's address only")

    def __init__(self, settings: Settings, dns: Dns, clock: Clock, log: PluginLog) -> None:
        super().__init__(settings)
        if not settings.zones:
            raise ValueError("there are no zones: without one there is nothing to ask")
        self._lists = DnsLists(settings.zones, dns, clock, log, timeout=float(settings.timeout))

    @hook.start
    async def test(self) -> None:
        """Test the zones before the first client comes."""
        await self._lists.test()

    @hook.mail(after=["access"])
    async def look_up(self, tx: Transaction, sender: Address) -> None:
        """Ask once for each session."""
        session = tx.session
        if "dnswl" in session.results or session.relaying or session.identity is not None or session.role != "mx":
            return
        found = await self._lists.listings({"client": session.client.address})
        listed = ", ".join(f"{each.zone}={each.code} {each.meaning}".rstrip() for each in found)
        session.results["dnswl"] = ("pass", listed) if found else ("none", "")
