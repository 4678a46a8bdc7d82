"""Defer the first contact of an unknown client, sender and recipient (RFC 6647): a queue tries again, a spam program mostly does not."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address, ip_network
from math import ceil

from upesi.plugin import (
    Address,
    Clock,
    Duration,
    Networks,
    OnError,
    Plugin,
    PluginSettings,
    Session,
    Store,
    Transaction,
    TransactionRecipient,
    Verdict,
    defer,
    hook,
)

_DAY = 86_400.0
_NEW, _KNOWN = b"new", b"known"


class Greylist(Plugin):
    """Remember who tried what when, in the store that all workers share."""

    class Settings(PluginSettings):
        """The defaults are those of RFC 6647 section 5, where it names any."""

        # a try before this is too early: queues of real senders try again within minutes
        delay: Duration = Duration("5m")
        # a second try must come by then; RFC 6647 section 5: a day at least, and weekends happen
        window: Duration = Duration("2d")
        # for so long after its last mail a triplet is known: longer than a month, for newsletters
        lifetime: Duration = Duration("36d")
        # clients of one network are one: large senders try again from another machine
        ipv4_prefix: int = 24
        ipv6_prefix: int = 64
        # a network whose mail passed so often, with different triplets, is not asked any more; 0: never
        auto_allow_after: int = 5
        # networks that are never deferred
        exempt: tuple[str, ...] = ()
        # recipients that get their mail at once: local parts ("postmaster") or addresses
        exempt_recipients: tuple[str, ...] = ()
        # whose result "pass" exempts
        results: tuple[str, ...] = ("dnswl", "access")
        # whether SPF's pass for the sender exempts: cheap to have for whoever sends spam from a domain of his own
        spf_pass: bool = False
        on_error: OnError = "continue"  # an outage of the store must not stop mail

        def __post_init__(self) -> None:
            if not 0 < self.delay < self.window <= self.lifetime:
                raise ValueError("delay must be shorter than window, and window not longer than lifetime")
            if not (8 <= self.ipv4_prefix <= 32 and 32 <= self.ipv6_prefix <= 128) or self.auto_allow_after < 0:
                raise ValueError("ipv4_prefix is 8 to 32, ipv6_prefix 32 to 128, auto_allow_after 0 or more")

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        super().__init__(settings)
        self._store = store
        self._clock = clock
        self._delay = float(settings.delay)
        self._window = float(settings.window)
        self._lifetime = float(settings.lifetime)
        self._prefixes = {4: settings.ipv4_prefix, 6: settings.ipv6_prefix}
        self._enough = settings.auto_allow_after
        self._exempt = Networks(settings.exempt)
        self._recipients = frozenset(entry.lower() for entry in settings.exempt_recipients)
        self._results = (*settings.results, *(("spf",) if settings.spf_pass else ()))

    # behind those that refuse for good: who is unknown should hear so at once and not in five minutes
    @hook.rcpt(after=["access", "aliases", "batv", "delay_deny", "dnsbl", "dnswl", "recipients", "spf", "srs"])
    async def first_contact(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """Defer what was not seen before, or tried again too early."""
        session = tx.session
        why = self._exemption(session, tx, recipient)
        network = self._network(session.client.address)
        if not why and network and self._enough:
            count = await self._store.get(f"greylist:network:{network}")
            why = "known network" if count is not None and int(count) >= self._enough else ""
        if why or not network:
            tx.results["greylist"] = ("skip", why or "no address")
            return None
        key = _key(network, tx.reverse_path, recipient.address)
        wait = await self._wait(key, network)
        if wait <= 0:
            tx.results["greylist"] = ("pass", "tried again")
            return None
        tx.results["greylist"] = ("fail", f"{wait:.0f} s left")
        # RFC 6647 section 5: 4yz, and RFC 3463: delivery not authorised, yet
        return defer("4.7.1", f"Greylisted, please try again in {_in_words(wait)}")

    async def _wait(self, key: str, network: str) -> float:
        """Return the seconds that this triplet has to wait still, none where it may pass; take note of what happened."""
        now = self._clock.now()
        stored = await self._store.get(key)
        if stored is None:
            await self._store.add(key, b"%s %d" % (_NEW, now), self._window)
            return self._delay
        kind, _, text = stored.partition(b" ")
        since = int(text)
        if kind == _NEW:
            # a clock that was set back would make it wait for ever
            wait = self._delay - max(0.0, now - since)
            if wait > 0:
                return wait
            await self._pass(network)
        if kind == _NEW or now - since > _DAY:
            # a busy triplet is written once a day and not with each message
            await self._store.put(key, b"%s %d" % (_KNOWN, now), self._lifetime)
        return 0.0

    async def _pass(self, network: str) -> None:
        """Count a triplet of this network that passed. Two at once may count as one: it takes a mail longer then."""
        if self._enough:
            key = f"greylist:network:{network}"
            await self._store.put(key, b"%d" % (int(await self._store.get(key) or 0) + 1), self._lifetime)

    def _exemption(self, session: Session, tx: Transaction, recipient: TransactionRecipient) -> str:
        """Return why this is not greylisted, nothing where it is."""
        if session.relaying:
            return "relaying"
        if session.identity is not None:
            return "authenticated"
        if session.client.address in self._exempt:
            return "exempt network"
        address = recipient.address
        if self._recipients and (address.local.lower() in self._recipients or address.key in self._recipients):
            return "exempt recipient"
        for name in self._results:
            if "pass" in (session.results.get(name, ("", ""))[0], tx.results.get(name, ("", ""))[0]):
                return f"{name} passed"
        return ""

    def _network(self, client: str) -> str:
        """Return the network that stands for a client, nothing for what has no address."""
        try:
            address = ip_address(client)
        except ValueError:
            return ""
        return str(ip_network((address, self._prefixes[address.version]), strict=False))


def _key(network: str, sender: Address | None, recipient: Address) -> str:
    # hashed: addresses are long, and what is kept for a month should not be a list of who wrote to whom
    text = "\0".join((network, _stable(sender), recipient.key))
    return "greylist:" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _stable(sender: Address | None) -> str:
    """Return the sender without what changes from try to try: the tags of BATV and SRS."""
    if sender is None:
        return ""
    local = sender.local
    if local[:5].lower() == "prvs=" and local.count("=") >= 2:
        local = local.split("=", 2)[2]
    elif local[:5].upper() in ("SRS0=", "SRS0+", "SRS0-") and local.count("=") >= 3:
        # SRS0=HHH=TT=domain=local: the hash and the day change
        local = local.split("=", 3)[3]
    return f"{local}@{sender.domain}".lower()


def _in_words(seconds: float) -> str:
    """Say a wait as people do, never shorter than it is."""
    count, unit = (ceil(seconds), "second") if seconds < 60 else (ceil(seconds / 60), "minute")
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
