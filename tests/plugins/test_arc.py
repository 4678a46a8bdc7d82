"""The plugins `arc` and `arc_seal`, as a stranger would see them: three sites hand one message on."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from unit.mailauth.dkimkit import NOW, rsa_key, signed_by, zone_of
from upesi.config.problems import ConfigError
from upesi.hooks.loading import LoadedPlugin, plugin_from
from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.mailauth.signing import SigningKey
from upesi.plugins.aliases.plugin import Aliases
from upesi.plugins.arc.plugin import Arc
from upesi.plugins.arc_seal.plugin import ArcSeal
from upesi.plugins.dkim.plugin import Dkim
from upesi.testkit import FakeClock, FakeResolver, MemoryRates, Trial, message

AUTHOR = rsa_key("example.com", "author")


class Site:
    """One server that takes mail and sends it on: its name, its key, and everybody's DNS."""

    def __init__(self, name: str, folder: Path, dns: FakeResolver) -> None:
        self.name = name
        self.dns = dns
        secret = generate_private_key(65537, 2048)
        self.file = folder / f"{name}.pem"
        self.file.touch(0o600)
        self.file.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key = SigningKey(name, "arc", secret)
        dns.set(key.name, "TXT", [key.record])

    def plugins(self, arc: dict[str, object], seal: dict[str, object]) -> tuple[LoadedPlugin, ...]:
        clock = FakeClock(NOW)
        services = {"dns": self.dns, "clock": clock, "rates": MemoryRates(clock), "node": f"mx.{self.name}"}
        own = {"domain": self.name, "selector": "arc", "key": str(self.file), **seal}
        table = {
            "list@example.org": ["member@example.net", "other@example.org"],
            "local@example.org": ["x@example.org"],
        }
        return (
            plugin_from("aliases", Aliases, {"table": table}, services),
            plugin_from("dkim", Dkim, {}, services),
            plugin_from("arc", Arc, arc, services),
            plugin_from("arc_seal", ArcSeal, own, services),
        )

    async def takes(
        self,
        content: bytes,
        to: str = "list@example.org",
        *,
        ours: bool = False,
        arc: dict[str, object] | None = None,
        **seal: object,
    ) -> tuple[Trial, Verdict | None]:
        trial = Trial(*self.plugins(arc or {}, seal), relay=True, clock=FakeClock(NOW))
        trial.session.relaying = ours
        await trial.mail()
        await trial.rcpt(to)
        await trial.data()
        return trial, await trial.message(content)

    async def hands_on(self, content: bytes) -> bytes:
        trial, _ = await self.takes(content)
        return b"".join(trial.tx.edited.chunks())


@pytest.fixture
def dns() -> FakeResolver:
    return FakeResolver({(name, "TXT"): [record] for name, record in zone_of(AUTHOR).items()})


@pytest.fixture
def first(tmp_path: Path, dns: FakeResolver) -> Site:
    return Site("lists.example", tmp_path, dns)


@pytest.fixture
def second(tmp_path: Path, dns: FakeResolver) -> Site:
    return Site("school.example", tmp_path, dns)


def authored() -> bytes:
    content = message()
    return signed_by(AUTHOR, content) + content


async def test_a_chain_grows_from_site_to_site(first: Site, second: Site) -> None:
    """C82, RFC 8617 section 5: each site adds a set, the next one finds the chain whole and knows what the first had found."""
    one = await first.hands_on(authored())
    two = await second.hands_on(one)
    trial, verdict = await first.takes(two)
    assert verdict is None
    assert trial.tx.results["arc"] == ("pass", "lists.example school.example")
    assert trial.tx.results["arc_seal"] == ("pass", "i=3")
    assert b"ARC-Authentication-Results: i=1; mx.lists.example; dkim=pass" in two
    assert b"ARC-Authentication-Results: i=2; mx.school.example; dkim=pass" in two
    assert [each.result for each in trial.tx.authentication if each.method == "arc"] == ["pass"]


async def test_what_a_list_changes_leaves_the_chain_whole(first: Site, second: Site) -> None:
    """RFC 8617 section 1: the author's signature breaks at the list, the list's word about it does not."""
    trial = Trial(*first.plugins({}, {}), relay=True, clock=FakeClock(NOW))
    await trial.mail()
    await trial.rcpt("list@example.org")
    await trial.data()
    content = authored()
    start = content.index(b"Subject: ") + 9
    trial.tx.edits.replace(start, start, b"[list] ")
    await trial.message(content)
    trial, _ = await second.takes(b"".join(trial.tx.edited.chunks()))
    assert trial.tx.results["dkim"][0] == "fail"
    assert trial.tx.results["arc"] == ("pass", "lists.example")


async def test_a_chain_that_was_tampered_with_fails_and_is_closed(first: Site, second: Site) -> None:
    """C82, section 5.1: what was changed behind a seal breaks the chain; the next site says cv=fail, and nobody adds to it any more."""
    one = (await first.hands_on(authored())).replace(b"Hello", b"Hallo")
    trial, verdict = await second.takes(one)
    assert verdict is None
    assert trial.tx.results["arc"] == ("fail", "message signature: body was changed")
    two = b"".join(trial.tx.edited.chunks())
    assert b"cv=fail" in two
    trial, _ = await first.takes(two)
    assert trial.tx.results["arc"] == ("fail", "chain had failed before")
    assert trial.tx.results["arc_seal"] == ("skip", "the chain is closed")
    assert trial.tx.added == ()


@pytest.mark.parametrize(("knob", "code"), [("mark", None), ("defer", 451), ("reject", 550)])
async def test_a_broken_chain_follows_its_knob(first: Site, second: Site, knob: str, code: int | None) -> None:
    """A chain that fails is as none unless the configuration asks for more."""
    one = (await first.hands_on(authored())).replace(b"Hello", b"Hallo")
    _, verdict = await second.takes(one, arc={"fail": knob})
    assert (verdict.reply.code if verdict is not None and verdict.reply is not None else None) == code


@pytest.mark.parametrize(("knob", "code"), [("mark", None), ("defer", 451)])
async def test_a_chain_that_cannot_be_checked_now_is_left_as_it_is(
    first: Site, second: Site, dns: FakeResolver, knob: str, code: int | None
) -> None:
    """Section 5.2: trouble with DNS is no broken chain: no cv=fail is written, and mail waits only where that is asked for."""
    one = await first.hands_on(authored())
    dns.set("arc._domainkey.lists.example", "TXT", Status.TIMEOUT)
    trial, verdict = await second.takes(one, arc={"temperror": knob})
    assert trial.tx.results["arc"] == ("fail", "key could not be fetched")
    assert (verdict.reply.code if verdict is not None and verdict.reply is not None else None) == code
    assert b"cv=fail" not in b"".join(trial.tx.edited.chunks())


@pytest.mark.parametrize(
    ("to", "settings", "ours", "sealed"),
    [
        ("list@example.org", {}, False, True),
        ("local@example.org", {}, False, False),
        ("anna@example.org", {}, False, False),
        ("anna@example.org", {"mail": "all"}, False, True),
        ("list@example.org", {"mail": "all"}, True, False),
    ],
)
async def test_what_goes_on_to_others_is_sealed(
    first: Site, to: str, settings: dict[str, object], ours: bool, sealed: bool
) -> None:
    """An alias that leads to another domain is sealed; mail that stays, or begins here, is not."""
    trial, _ = await first.takes(authored(), to, ours=ours, **settings)
    assert (b"ARC-Seal" in b"".join(trial.tx.edited.chunks())) is sealed


async def test_mail_without_an_author_is_handed_on_without_a_seal(first: Site) -> None:
    """What cannot be signed is no reason to keep mail."""
    trial, verdict = await first.takes(message(fields={"From": None}))
    assert verdict is None
    assert trial.tx.results["arc_seal"] == ("skip", "message has no From")


async def test_a_key_that_cannot_be_used_stops_the_start(first: Site) -> None:
    """DKIM-05: as for dkim_sign."""
    first.file.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        first.plugins({}, {})


async def test_a_key_that_few_validators_read_stops_the_start(first: Site) -> None:
    """ARC-01, RFC 8617: chains are sealed with rsa-sha256; whoever knows no Ed25519 would call the chain broken for good."""
    first.file.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    with pytest.raises(ConfigError, match="is no RSA key"):
        first.plugins({}, {})
