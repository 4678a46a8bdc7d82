"""Failed attempts: how they are counted, what they delay, and when an account or a network is locked out for a while (AUT-04).

Three counts, each in a window that slides: of one network on one account, of one network on any account, of one account from anywhere.
The first catches a program with a wrong password, the second one that tries a password on many accounts, the third a thousand machines
that try many on one. The third alone would let a stranger lock out the owner of an account; so a network from which that account was
used before (`acquaintances`) is spared it.

The counts go by what the client typed, whether there is such an account or not: locks tell nobody which accounts exist. They live in
`Counters` that all workers share. Nothing here waits.

An attempt is counted before anybody is asked about it, and given back when it turns out to be no failure. So a hundred guesses at once
are no more than a hundred one after the other, and who leaves before the answer has been counted already.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Awaitable
from ipaddress import IPv6Address, ip_address
from typing import Protocol

import msgspec

from upesi.config.units import Duration, Rate
from upesi.sasl.acquaintances import Acquaintances

__all__ = ["Attempt", "AttemptRules", "Attempts", "Counters", "Lock", "network_of"]

# what a name is cut to in a key: keys are bounded, names are the client's
_NAME_OCTETS = 12


class Counters(Protocol):
    """As much of `upesi.store.counters.Counters` as is needed here."""

    def take(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        """Count `n` events; False, and nothing counted, where there would then be more than `rate.count` in the window."""
        ...

    def give_back(self, key: bytes, rate: Rate) -> None:
        """Take one event back that was counted lately."""
        ...

    def add(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        """Count `n` events; False where there are now more than `rate.count` in the window."""
        ...

    def spent(self, key: bytes, rate: Rate) -> int:
        """Return how many events the window holds now."""
        ...

    def forget(self, key: bytes, rate: Rate) -> None:
        """Begin again from nothing."""
        ...


class Lock(enum.Enum):
    """What is locked."""

    NETWORK = "network"
    ACCOUNT = "account"
    PAIR = "account from this network"


class AttemptRules(msgspec.Struct, frozen=True, kw_only=True):
    """Failures after which no more is heard: of a network on an account, of a network, of an account from elsewhere than it was used from.

    `delay` is the time that each failed attempt takes at least, doubled with each one more of the same network up to `longest_delay`.
    """

    pair: Rate
    network: Rate
    account: Rate
    delay: Duration
    longest_delay: Duration


class Attempt(msgspec.Struct, frozen=True):
    """One attempt that is counted: of whom, under a digest (empty where that is not known), and from where."""

    name: bytes
    network: bytes


class Attempts:
    """The counts, under the rules."""

    __slots__ = ("_acquaintances", "_counters", "_rules")

    def __init__(self, counters: Counters, rules: AttemptRules, acquaintances: Acquaintances) -> None:
        self._counters = counters
        self._acquaintances = acquaintances
        self._rules = rules

    def take(self, user: str, address: str, *, acquainted: bool = False) -> Attempt | Lock:
        """Count an attempt of `user` at `address` as if it had failed; where that is not allowed now, count nothing and return why.

        Lock.ACCOUNT holds for strangers only: ask `acquainted`, and try again.
        """
        attempt = Attempt(_name(user), network_of(address))
        taken: list[tuple[bytes, Rate]] = []
        for lock, key, rate in self._counts(attempt):
            if self._counters.take(key, rate):
                taken.append((key, rate))
            elif lock is Lock.ACCOUNT and acquainted:
                self._counters.add(key, rate)
            else:
                for each in taken:
                    self._counters.give_back(*each)
                return lock
        return attempt

    def give_back(self, attempt: Attempt) -> None:
        """It was no failure: no sure no, or no answer."""
        for _, key, rate in self._counts(attempt):
            self._counters.give_back(key, rate)

    async def acquainted(self, user: str, address: str) -> bool:
        """Whether `user` was let in from the network of `address` before."""
        return await self._acquaintances.knows(_name(user), network_of(address))

    def failed(self, user: str, address: str) -> None:
        """Count a failure about which nobody was asked."""
        for _, key, rate in self._counts(Attempt(_name(user), network_of(address))):
            self._counters.add(key, rate)

    def succeeded(self, attempt: Attempt) -> Awaitable[None] | None:
        """Forget the failures of this user here: it was the owner, mistyping. Those of the network stay, one account of an attacker's own
        must not wipe them out. Returns what somebody must await, if anything."""
        for lock, key, rate in self._counts(attempt):
            if lock is Lock.PAIR:
                self._counters.forget(key, rate)
            else:
                self._counters.give_back(key, rate)
        return self._acquaintances.remember(attempt.name, attempt.network) if attempt.name else None

    def delay(self, address: str) -> float:
        """Return how many seconds after its question a failed attempt is answered."""
        rules = self._rules
        spent = self._counters.spent(_key(b"network", network_of(address)), rules.network) if rules.network.count else 0
        return min(rules.delay * 2.0 ** min(spent, 16), max(rules.longest_delay, rules.delay))

    def _counts(self, attempt: Attempt) -> list[tuple[Lock, bytes, Rate]]:
        """Return what an attempt counts for, and under which rates. A rate of "none" counts nothing."""
        rules, name, network = self._rules, attempt.name, attempt.network
        counts = [(Lock.NETWORK, _key(b"network", network), rules.network)]
        if name:
            counts.append((Lock.PAIR, _key(b"pair", name, network), rules.pair))
            counts.append((Lock.ACCOUNT, _key(b"account", name), rules.account))
        return [(lock, key, rate) for lock, key, rate in counts if rate.count]


def network_of(address: str) -> bytes:
    """Return whom an address stands for: itself in IPv4, its /64 in IPv6, of which every customer has at least one."""
    try:
        parsed = ip_address(address)
    except ValueError:
        # a Unix socket
        return b"local"
    return parsed.packed[:8] if isinstance(parsed, IPv6Address) else parsed.packed


def _name(user: str) -> bytes:
    # hashed: names are of any length, and one that is a mistyped password must not stand in a file
    return hashlib.blake2b(user.casefold().encode(), digest_size=_NAME_OCTETS).digest() if user else b""


def _key(*parts: bytes) -> bytes:
    return b"auth:" + b":".join(parts)
