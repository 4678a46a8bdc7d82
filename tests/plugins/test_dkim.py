"""The plugin `dkim`, as a stranger would see it."""

from __future__ import annotations

import pytest

from unit.mailauth.dkimkit import NOW, rsa_key, signed_by, zone_of
from upesi.config.problems import ConfigError
from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.plugin import Address, TransactionRecipient
from upesi.plugins.dkim.plugin import Dkim
from upesi.testkit import FakeClock, FakeResolver, Trial, message

KEY = rsa_key()


def trial(settings: dict[str, object] | None = None, trouble: Status | None = None) -> Trial:
    dns = FakeResolver({(name, "TXT"): trouble or [record] for name, record in zone_of(KEY).items()})
    return Trial.of(Dkim, settings, dns=dns, clock=FakeClock(NOW))


async def given(
    content: bytes, settings: dict[str, object] | None = None, trouble: Status | None = None
) -> tuple[Trial, Verdict | None]:
    tried = trial(settings, trouble)
    await tried.mail()
    await tried.rcpt()
    await tried.data()
    return tried, await tried.message(content)


async def test_a_signature_that_passes_is_left_for_others() -> None:
    """The result names what was signed with, and Authentication-Results gets d=, i=, s=, a= and b= (RFC 8601, RFC 6008)."""
    content = message()
    tried, verdict = await given(signed_by(KEY, content) + content)
    assert verdict is None
    assert tried.tx.results["dkim"] == ("pass", "d=example.org s=r a=rsa-sha256")
    [found] = tried.tx.authentication
    assert (found.method, found.result, found.reason) == ("dkim", "pass", "")
    said = dict(found.properties)
    assert (said["header.d"], said["header.i"], said["header.s"]) == ("example.org", "@example.org", "r")
    assert said["header.a"] == "rsa-sha256"
    assert len(said["header.b"]) >= 8


def replied(verdict: Verdict | None) -> int | None:
    return verdict.reply.code if verdict is not None and verdict.reply is not None else None


@pytest.mark.parametrize(
    ("setting", "knob", "code"),
    [
        ("none", "mark", None), ("none", "defer", 451), ("none", "reject", 550),
        ("fail", "mark", None), ("fail", "defer", 451), ("fail", "reject", 550),
        ("temperror", "mark", None), ("temperror", "defer", 451), ("temperror", "reject", 550),
    ],
)  # fmt: skip
async def test_each_outcome_has_a_knob(setting: str, knob: str, code: int | None) -> None:
    """What is found is only marked unless the configuration asks for more (RFC 6376 section 6.3)."""
    content = message()
    field = b"" if setting == "none" else signed_by(KEY, content)
    arrived = field + (content.replace(b"Hello", b"Hallo") if setting == "fail" else content)
    tried, verdict = await given(arrived, {setting: knob}, Status.TIMEOUT if setting == "temperror" else None)
    assert tried.tx.results["dkim"][0] == setting
    assert replied(verdict) == code


async def test_one_signature_that_passes_is_enough() -> None:
    """RFC 6376 section 6.1: a list's broken signature beside the author's whole one refuses nothing."""
    content = message()
    good = signed_by(KEY, content)
    bad = good.replace(b"t=17", b"t=16")
    tried, verdict = await given(bad + good + content, {"fail": "reject"})
    assert verdict is None
    assert tried.tx.results["dkim"][0] == "pass"
    assert [each.result for each in tried.tx.authentication] == ["fail", "pass"]


async def test_signatures_are_told_apart_by_the_beginning_of_b() -> None:
    """RFC 6008 section 4: at least eight characters, and as many more as it takes."""
    content = message()
    good = signed_by(KEY, content)
    twin = good[:-20] + (b"AAAA" if good[-20:-16] != b"AAAA" else b"BBBB") + good[-16:]
    tried, _ = await given(twin + good + content)
    shown = [dict(each.properties)["header.b"] for each in tried.tx.authentication]
    assert len(set(shown)) == 2
    tried, _ = await given(good + good + content)
    assert {len(dict(each.properties)["header.b"]) for each in tried.tx.authentication} == {8}


async def test_mail_without_a_signature_is_said_to_have_none() -> None:
    """RFC 8601 section 2.7.1: none."""
    tried, verdict = await given(message())
    assert verdict is None
    assert tried.tx.results["dkim"] == ("none", "")
    assert [(each.method, each.result) for each in tried.tx.authentication] == [("dkim", "none")]


async def test_a_forged_field_names_nobody() -> None:
    """What cannot be read is not shown: only names that were checked reach Authentication-Results."""
    tried, _ = await given(b"DKIM-Signature: v=1; d=bank.example; s=x\r\n" + message())
    [found] = tried.tx.authentication
    assert (found.result, found.properties) == ("permerror", ())


async def test_a_message_is_verified_without_reading_it_again() -> None:
    """The octets are heard while they come; at `message` only DNS is asked."""
    content = message("x" * 300_000 + "\n")
    tried, _ = await given(signed_by(KEY, content) + content)
    assert tried.tx.results["dkim"][0] == "pass"
    assert len(tried.tx.listeners) == 1


@pytest.mark.parametrize("signatures", [0, 21])
def test_settings_have_bounds(signatures: int) -> None:
    """Each signature costs a question."""
    with pytest.raises(ConfigError, match="1 to 20"):
        trial({"signatures": signatures})


async def brought(tried: Trial, content: bytes, recipients: int = 1) -> int | None:
    """Bring a message once more, in a transaction of its own; return the code of a refusal."""
    await tried.mail()
    who = (TransactionRecipient(Address(f"u{number}", "example.net")) for number in range(recipients))
    tried.tx.recipients.extend(who)
    await tried.data()
    return replied(await tried.message(content))


async def test_a_signature_that_is_sent_again_and_again_is_put_off() -> None:
    """DKIM-06: recipients of one valid signature are counted, over messages and however b= is folded; others are not touched."""
    content, other = message(), message("Something else\n")
    tried = trial({"replay": "5/1h"})
    signature = signed_by(KEY, content)
    assert await brought(tried, signature + content, 3) is None
    assert await brought(tried, signature + content, 2) is None
    # another field in front, other blanks in b=: the same signature
    folded = signature[:-12] + b"\r\n " + signature[-12:]
    assert await brought(tried, b"X-Seen: again\r\n" + folded + content) == 451
    assert await brought(tried, signature + content) == 451
    assert tried.tx.results["dkim"][1].startswith("replayed; d=example.org")
    assert [name for name, _ in tried.events if name == "dkim.replayed"]
    assert await brought(tried, signed_by(KEY, other) + other, 5) is None
    tried.clock.advance(3601)
    assert await brought(tried, signature + content, 5) is None


async def test_only_what_is_valid_and_from_strangers_is_counted() -> None:
    """DKIM-06: nobody uses up another's count with a copied b=, and our own people are not bounded here."""
    content = message()
    tried = trial({"replay": "1/1h"})
    signature = signed_by(KEY, content)
    for _ in range(3):
        assert await brought(tried, signature + content.replace(b"Hello", b"Hallo")) is None
    assert await brought(tried, signature + content) is None
    assert await brought(tried, signature + content) == 451
    tried.session.relaying = True
    assert await brought(tried, signature + content) is None


async def test_by_default_nothing_is_counted() -> None:
    """DKIM-06: a list that signs once brings the same signature to every subscriber."""
    content = message()
    tried = trial()
    signature = signed_by(KEY, content)
    assert [await brought(tried, signature + content, 50) for _ in range(4)] == [None] * 4
