"""Guesses that try to pass the counts: many at once, and clients that do not stay for the answer (AUT-04)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from tests.unit.session.authkit import (
    ANNA,
    AuthDialogue,
    MemoryCounters,
    MemoryCredentials,
    authenticator,
    b64,
    plain,
    rules,
)

from upesi.config.units import Duration, Rate
from upesi.sasl.authenticator import Authenticator
from upesi.sasl.credentials import Identity, Reason, Refused, Unavailable
from upesi.testkit import run_virtual

WRONG = ["535 5.7.8 Authentication credentials invalid"]
IN = ["235 2.7.0 Authentication succeeded"]
LOCKED = ["454 4.7.0 Too many failed attempts, try again later"]
COUNTED = rules(pair=Rate("10/15m"), network=Rate("60/1h"), account=Rate("60/1h"))


def dialogue(given: Authenticator) -> AuthDialogue:
    client = AuthDialogue(auth=given)
    client.hello()
    return client


def slow(source: MemoryCredentials, answer: Any, seconds: float = 0.05) -> None:
    source.trouble = partial(asyncio.sleep, seconds, answer)


# -- many at once


def test_guesses_at_once_are_no_more_than_one_after_the_other() -> None:
    """AUT-04: of 48 sessions of one address the source judges ten, as of 48 guesses in turn."""
    source, counters = MemoryCredentials(), MemoryCounters()
    slow(source, Refused())

    async def attack() -> list[list[str]]:
        given = authenticator(source, counters=counters, attempts=COUNTED)
        given.monotonic = asyncio.get_running_loop().time
        clients = [dialogue(given) for _ in range(48)]
        return await asyncio.gather(*(client.login("anna", "guess") for client in clients))

    replies = run_virtual(attack())
    assert len(source.asked) == 10
    assert (replies.count(WRONG), replies.count(LOCKED)) == (10, 38)
    assert sorted(counters.counts.values()) == [10, 10, 10]


def test_an_owner_may_log_in_a_hundred_times_at_once() -> None:
    """AUT-04: what is asked at this moment fills the count for that moment; who is right waits a little, and is not locked out."""
    source, counters = MemoryCredentials(), MemoryCounters()
    slow(source, ANNA)
    counted = rules(
        pair=Rate("10/15m"),
        network=Rate("60/1h"),
        account=Rate("60/1h"),
        delay=Duration(1),
        longest_delay=Duration(16),
    )

    async def morning() -> list[list[str]]:
        given = authenticator(source, counters=counters, attempts=counted)
        given.monotonic = asyncio.get_running_loop().time
        clients = [dialogue(given) for _ in range(100)]
        return await asyncio.gather(*(client.login() for client in clients))

    assert run_virtual(morning()) == [IN] * 100
    assert counters.counts == {}


@pytest.mark.parametrize("answer", [ANNA, Unavailable("down"), Refused(Reason.EXPIRED)])
async def test_what_is_no_guess_locks_nobody(answer: Any) -> None:
    """AUT-04, AUT-07: a hundred right passwords, or a hundred of any kind while the source is down, leave nothing counted."""
    source, counters = MemoryCredentials(), MemoryCounters()
    source.trouble = partial(asyncio.sleep, 0, answer)
    given = authenticator(source, counters=counters, attempts=COUNTED)
    for _ in range(100):
        await dialogue(given).login()
    assert len(source.asked) == 100
    assert counters.counts == {}


# -- clients that leave


async def left(answer: Any, *, early: bool) -> tuple[AuthDialogue, MemoryCounters]:
    """A client that guesses and is gone before the source has spoken; `early`: before it was even asked."""
    source, counters, asked, spoken = MemoryCredentials(), MemoryCounters(), asyncio.Event(), asyncio.Event()

    async def speak() -> Any:
        asked.set()
        await spoken.wait()
        return answer

    source.trouble = speak
    given = authenticator(source, counters=counters, attempts=COUNTED)
    client = dialogue(given)
    client.say("AUTH PLAIN " + plain("anna", "guess"))
    if not early:
        await asyncio.wait_for(asked.wait(), 30)
    client.hang_up()
    spoken.set()
    # those that outlive their clients
    for each in tuple(given._asking):
        await each
    await asyncio.sleep(0)
    return client, counters


@pytest.mark.parametrize("early", [False, True])
async def test_a_guess_counts_though_the_client_has_left(early: bool) -> None:
    """AUT-04: a reset connection takes no guess back, and the log tells of it."""
    client, counters = await left(Refused(), early=early)
    assert sorted(counters.counts.values()) == [1, 1, 1]
    assert [(each["user"], each["reason"]) for each in client.named("auth.failed")] == [("anna", "wrong credentials")]


@pytest.mark.parametrize(("answer", "told"), [(ANNA, []), (Unavailable("slow"), ["no answer"])])
async def test_who_leaves_a_slow_source_is_not_locked_out(answer: Any, told: list[str]) -> None:
    """AUT-07: clients give up sooner than we do; what was no failure is given back when the source has spoken at last."""
    client, counters = await left(answer, early=False)
    assert counters.counts == {}
    assert [each["reason"] for each in client.named("auth.failed")] == told


# -- tokens


class NoTokens:
    """Refuses every token."""

    async def verify(self, token: str, user: str, origin: Any) -> Identity | Refused | Unavailable:
        return Refused()


BAD = "AUTH XOAUTH2 " + b64("user=anna\x01auth=Bearer bad\x01\x01")


@pytest.mark.parametrize("ending", ["*", "", None])
async def test_a_refused_token_counts_before_the_client_hears_of_it(ending: str | None) -> None:
    """AUT-04, RFC 7628 section 3.2.3: whether it answers the challenge, cancels, or leaves there; and once only."""
    counters = MemoryCounters()
    given = authenticator(MemoryCredentials(), tokens=NoTokens(), counters=counters, attempts=COUNTED, max_failures=1)
    client = dialogue(given)
    assert (await client.ask(BAD))[0].startswith("334 ")
    assert sorted(counters.counts.values()) == [1, 1, 1]
    if ending is None:
        client.hang_up()
    else:
        said = await client.ask(ending)
        assert said[0] == ("501 5.7.0 Authentication cancelled" if ending else WRONG[0])
        # max_failures holds for these too
        assert said[1].startswith("421 ")
    assert sorted(counters.counts.values()) == [1, 1, 1]
    assert [each["reason"] for each in client.named("auth.failed")] == ["wrong credentials"]


def test_a_refused_token_is_as_slow_as_a_wrong_password() -> None:
    """AUT-04: the delay comes before the challenge, where nobody can leave it out, and not again behind it."""

    async def timed() -> list[float]:
        loop = asyncio.get_running_loop()
        given = authenticator(
            MemoryCredentials(), tokens=NoTokens(), attempts=rules(delay=Duration(2), longest_delay=Duration(2))
        )
        given.monotonic = loop.time
        client, began = dialogue(given), loop.time()
        await client.ask(BAD)
        challenged = loop.time()
        assert await client.ask("") == WRONG
        return [challenged - began, loop.time() - challenged]

    assert run_virtual(timed()) == pytest.approx([2.0, 0.0])


async def test_a_question_what_token_is_wanted_may_be_cancelled() -> None:
    """RFC 7628 section 4.3: no token was shown, so none was guessed."""
    counters = MemoryCounters()
    given = authenticator(MemoryCredentials(), tokens=NoTokens(), counters=counters, attempts=COUNTED)
    client = dialogue(given)
    assert (await client.ask("AUTH OAUTHBEARER " + b64("n,,\x01\x01")))[0].startswith("334 ")
    assert await client.ask("*") == ["501 5.7.0 Authentication cancelled"]
    assert counters.counts == {}
    assert client.named("auth.failed") == []
