"""batv: our own senders are tagged, and notices about mail that we never sent are seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.loading import plugin_from
from upesi.plugin import Plugin, accept, hook
from upesi.plugins.batv.plugin import BounceTags
from upesi.testkit import FakeClock, Trial, message

DAY = 86_400.0


class Votes(Plugin):
    """Takes what is ours, under its plain name."""

    @hook.rcpt(after=["batv"])
    def rcpt(self, tx, recipient):
        return accept() if recipient.address.local in ("anna", "bert", "postmaster") else None


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "batv.keys"
    path.write_text("# newest first\n1 a secret that is long enough\n0 the one of last year, too\n")
    return path


def trial(keys: Path, clock: FakeClock | None = None, **settings: object) -> Trial:
    clock = clock or FakeClock()
    table = {"domains": ["example.com"], "keys_file": str(keys), **settings}
    return Trial(plugin_from("batv", BounceTags, table, {"clock": clock}), plugin_from("votes", Votes), clock=clock)


async def tagged(keys: Path, clock: FakeClock, sender: str = "anna@example.com") -> str:
    """The sender of a message of ours as it leaves."""
    it = trial(keys, clock)
    it.session.identity = "anna"
    await it.mail(sender)
    await it.rcpt("bert@elsewhere.example")
    await it.message(message())
    return str(it.tx.reverse_path)


async def test_our_senders_are_tagged(keys: Path):
    """prvs=KDDDSSSSSS=local@domain, by the newest key, for seven days."""
    address = await tagged(keys, FakeClock())
    # 2026-01-01 is day 20454; 454 + 7
    assert address.startswith("prvs=1461")
    assert address.endswith("=anna@example.com")
    assert len(address) == len("prvs=1461xxxxxx=anna@example.com")


@pytest.mark.parametrize("sender", ["", "anna@elsewhere.example", "prvs=1461abcdef=anna@example.com"])
async def test_others_and_tagged_ones_are_left_alone(keys: Path, sender: str):
    """Bounces, domains that are not ours, and what bears a tag already."""
    assert await tagged(keys, FakeClock(), sender) == (sender or "None")


async def test_strangers_are_not_tagged(keys: Path):
    """Mail that comes in keeps its sender."""
    it = trial(keys)
    await it.mail("anna@example.com")
    await it.rcpt("bert@example.com")
    await it.message(message())
    assert str(it.tx.reverse_path) == "anna@example.com"


async def test_a_notice_about_our_mail_comes_in(keys: Path):
    """The tag is taken off, in any case of letters, for its week."""
    clock = FakeClock()
    address = await tagged(keys, clock)
    clock.advance(6 * DAY)
    for spelled in (address, address.upper()):
        it = trial(keys, clock)
        await it.mail("")
        await it.rcpt(spelled)
        assert it.tx.results["batv"] == ("pass", "a notice about mail of ours"), spelled
    clock.advance(2 * DAY)
    it = trial(keys, clock)
    await it.mail("")
    assert (await it.rcpt(address)).reply.code == 550


async def test_keys_can_be_changed(keys: Path, tmp_path: Path):
    """The first signs, all are believed."""
    old = tmp_path / "old.keys"
    old.write_text("0 the one of last year, too\n")
    address = await tagged(old, FakeClock())
    assert address.startswith("prvs=0461")
    it = trial(keys)
    await it.mail("")
    assert (await it.rcpt(address)).kind.value == "accept"


@pytest.mark.parametrize(
    ("settings", "recipient", "refused", "result"),
    [
        ({}, "anna@example.com", False, ("fail", "untagged")),
        ({"untagged": "reject"}, "anna@example.com", True, ("fail", "untagged")),
        ({}, "prvs=1461abcdef=anna@example.com", True, ("fail", "invalid")),
        ({"invalid": "mark"}, "prvs=1461abcdef=anna@example.com", False, ("fail", "invalid")),
        ({}, "prvs=5461abcdef=anna@example.com", True, ("fail", "invalid")),
        ({"untagged": "reject"}, "postmaster@example.com", False, ("skip", "exempt recipient")),
    ],
)
async def test_other_notices(
    keys: Path, settings: dict[str, object], recipient: str, refused: bool, result: tuple[str, str]
):
    """ADR-15: a forged or expired tag is refused; each outcome has its knob."""
    it = trial(keys, **settings)
    await it.mail("")
    verdict = await it.rcpt(recipient)
    assert (verdict is not None and verdict.reply is not None) is refused
    assert it.tx.results["batv"] == result


async def test_people_may_answer_to_any_address_that_they_saw(keys: Path):
    """An ordinary sender to a tagged address: the tag goes, and is not judged."""
    it = trial(keys, untagged="reject")
    await it.mail("somebody@elsewhere.example")
    await it.rcpt("prvs=1461abcdef=anna@example.com")
    assert [str(recipient.address) for recipient in it.tx.recipients] == ["anna@example.com"]
    assert "batv" not in it.tx.results


@pytest.mark.parametrize(
    "text",
    ["", "x a secret that is long enough", "1 short", "1 a secret that is long enough\n1 another that is long enough"],
)
def test_keys_that_are_none_are_refused(tmp_path: Path, text: str):
    """At the start, with the line."""
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigError, match="keys_file"):
        trial(path)
