"""Guessing in the large, against the counters that the server has: how many guesses get as far as a source (AUT-04)."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest
from tests.unit.session.authkit import MemoryKeys

from upesi.config.settings import AuthSettings
from upesi.config.units import Rate
from upesi.sasl.acquaintances import MAX_RECENT, Acquaintances
from upesi.sasl.attempts import Attempt, AttemptRules, Attempts, Lock, network_of
from upesi.store.keys import KeysUnavailable
from upesi.store.machine import MachineCounters

DEFAULTS = AuthSettings()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def attempts(clock: Clock, keys: MemoryKeys | None = None, **changed: Rate) -> Attempts:
    rules = AttemptRules(
        pair=changed.get("pair", DEFAULTS.pair_failures),
        network=changed.get("network", DEFAULTS.network_failures),
        account=changed.get("account", DEFAULTS.account_failures),
        delay=DEFAULTS.delay,
        longest_delay=DEFAULTS.longest_delay,
    )
    return Attempts(MachineCounters(None, boot="b", monotonic=clock), rules, Acquaintances(keys or MemoryKeys(), clock))


def locked(given: Attempts, user: str, address: str) -> Lock | None:
    """Return what keeps the attempt out, and leave the counts as they were."""
    taken = given.take(user, address)
    if isinstance(taken, Lock):
        return taken
    given.give_back(taken)
    return None


def entered(given: Attempts, user: str, address: str) -> Awaitable[None] | None:
    """Make an attempt that succeeds."""
    taken = given.take(user, address, acquainted=True)
    # what is locked for this user is not for others
    return given.succeeded(taken if isinstance(taken, Attempt) else Attempt(b"", b""))


def guesses(given: Attempts, clock: Clock, pairs: list[tuple[str, str]], seconds: float) -> int:
    """Make one wrong guess after the other, `seconds` between them; return how many were put to the source."""
    put = 0
    for user, address in pairs:
        clock.now += seconds
        put += isinstance(given.take(user, address), Attempt)
    return put


@pytest.mark.parametrize(
    ("pairs", "most"),
    [
        ([("anna", "192.0.2.1")] * 1000, 10),
        ([("anna", f"198.51.{n // 250}.{n % 250}") for n in range(1000)], 60),
        ([(f"user{n}", "192.0.2.1") for n in range(1000)], 60),
        ([(f"user{n}", f"2001:db8::{n:x}") for n in range(1000)], 60),
    ],
)
def test_a_thousand_guesses_in_a_quarter_of_an_hour(pairs: list[tuple[str, str]], most: int) -> None:
    """AUT-04: one network on one account, a thousand networks on one account, one network on a thousand accounts, one /64."""
    clock = Clock()
    assert 0 < guesses(attempts(clock), clock, pairs, 0.8) <= most


def test_locks_end_with_their_window() -> None:
    """AUT-04: nobody is kept out for ever."""
    clock = Clock()
    given = attempts(clock)
    assert guesses(given, clock, [("anna", "192.0.2.1")] * 20, 1.0) == 10
    assert locked(given, "anna", "192.0.2.1") is Lock.PAIR
    assert locked(given, "bert", "192.0.2.1") is None
    clock.now += 1000
    assert locked(given, "anna", "192.0.2.1") is None


async def test_the_owner_comes_in_while_strangers_guess() -> None:
    """AUT-04: a network that the account was used from is spared what others do, not what it does itself."""
    clock = Clock()
    given = attempts(clock)
    await login(given, "anna", "192.0.2.1")
    guesses(given, clock, [("anna", f"198.51.100.{n}") for n in range(200)], 1.0)
    for user, address, spared in (
        ("anna", "203.0.113.1", False),
        ("anna", "192.0.2.1", True),
        ("Anna", "192.0.2.1", True),
    ):
        assert locked(given, user, address) is Lock.ACCOUNT
        assert await given.acquainted(user, address) is spared
    assert not await given.acquainted("bert", "192.0.2.1")
    for _ in range(20):
        given.failed("anna", "192.0.2.1")
    assert locked(given, "anna", "192.0.2.1") is Lock.PAIR


async def login(given: Attempts, user: str, address: str) -> None:
    remembering = entered(given, user, address)
    if remembering is not None:
        await remembering


class BrokenKeys(MemoryKeys):
    """A file that cannot be had."""

    async def get(self, key: str) -> bytes | None:
        raise KeysUnavailable("disk full")

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        raise KeysUnavailable("disk full")


async def test_without_the_file_nobody_is_known_and_nothing_breaks() -> None:
    """AUT-07: who cannot be recognised is a stranger; what could not be written down is written with the next login."""
    keys = BrokenKeys()
    given = attempts(Clock(), keys)
    for _ in range(2):
        remembering = entered(given, "anna", "192.0.2.1")
        assert remembering is not None
        await remembering
    assert not await given.acquainted("anna", "192.0.2.1")


async def test_little_is_written() -> None:
    """Once a day for each account and network, in no readable form; the memory of what was written is bounded."""
    clock, keys = Clock(), MemoryKeys()
    given = attempts(clock, keys)
    await login(given, "anna", "192.0.2.1")
    assert entered(given, "anna", "192.0.2.1") is None
    clock.now += 86_401
    again = entered(given, "anna", "192.0.2.1")
    assert again is not None
    await again
    (key,) = keys.values
    assert "anna" not in key
    for number in range(MAX_RECENT + 10):
        await login(given, f"user{number}", "192.0.2.1")
    assert len(given._acquaintances._recent) == MAX_RECENT


async def test_an_account_of_the_attackers_own_wipes_nothing_out() -> None:
    """AUT-04: to log in between guesses does not begin the network's count anew."""
    clock = Clock()
    given = attempts(clock)
    put = 0
    for number in range(200):
        put += guesses(given, clock, [(f"user{number}", "192.0.2.1")], 1.0)
        await login(given, "mallory", "192.0.2.1")
    assert put == 60


def test_rules_that_are_off_count_nothing() -> None:
    """ "none" switches a lock off; the others stay."""
    clock = Clock()
    none = Rate("none")
    free = attempts(clock, pair=none, network=none, account=none)
    assert guesses(free, clock, [("anna", "192.0.2.1")] * 100, 1.0) == 100
    assert guesses(attempts(clock, pair=none), clock, [("anna", "192.0.2.1")] * 100, 1.0) == 60


def test_a_user_that_is_not_known_yet_has_the_networks_lock_only() -> None:
    """A token names nobody before it was verified."""
    clock = Clock()
    given = attempts(clock, network=Rate("5/1h"))
    assert guesses(given, clock, [("", "192.0.2.1")] * 20, 1.0) == 5
    assert entered(given, "", "192.0.2.1") is None
    assert locked(given, "", "192.0.2.1") is Lock.NETWORK


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("", "nonsense", True),
    ],
)
def test_networks(one: str, other: str, same: bool) -> None:
    """An IPv4 address, an IPv6 /64; what has no address is local."""
    assert (network_of(one) == network_of(other)) is same
