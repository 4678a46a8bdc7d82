"""srs: forwarded mail gets a sender of ours, its bounces find back, and nobody can make one up."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.config.problems import ConfigError
from upesi.hooks.loading import plugin_from
from upesi.mail.route import MaildirRoute
from upesi.plugin import Address, Plugin, accept, hook
from upesi.plugins.aliases.plugin import Aliases
from upesi.plugins.srs.plugin import ForwardedSenders
from upesi.plugins.srs.rewriting import BadSrs, Srs, is_srs
from upesi.testkit import FakeClock, Trial, message

DAY = 86_400.0
SECRET, OLDER = b"a secret that is long enough", b"the one of last year, as long"
NOW = 1_767_225_600.0


def srs(domain: str = "forwarder.example", *secrets: bytes) -> Srs:
    return Srs(domain, secrets or (SECRET,), max_age=21 * DAY, hash_length=8)


LOCALS = st.text("abcXYZ019._+-=", min_size=1, max_size=30)


@given(LOCALS, st.sampled_from(["example.com", "a.b.example", "[192.0.2.1]"]), st.integers(0, 3000))
def test_what_is_rewritten_leads_back(local: str, domain: str, day: int):
    """Whatever the local part, on any day, for three weeks, in any case of letters."""
    sender, now = Address(local, domain), day * DAY
    if is_srs(sender):
        return
    rewritten = srs().forward(sender, now)
    assert rewritten.domain == "forwarder.example"
    assert srs().reverse(rewritten, now + 20 * DAY) == sender
    louder = Address(rewritten.local.upper(), rewritten.domain)
    assert srs().reverse(louder, now).key == sender.key
    with pytest.raises(BadSrs, match="too old"):
        srs().reverse(rewritten, now + 22 * DAY)


def test_a_second_forwarder_leads_back_to_the_first():
    """SRS1, and SRS1 again: two hops stay two, however many forwarders there are."""
    sender = Address.parse("anna@example.com")
    first = srs("one.example").forward(sender, NOW)
    second = srs("two.example", b"quite another secret here").forward(first, NOW)
    third = srs("three.example", b"and a third one, long too").forward(second, NOW)
    assert first.local.startswith("SRS0=")
    assert second.local.startswith("SRS1=")
    assert third.local.startswith("SRS1=")
    assert "two.example" not in third.local
    assert srs("three.example", b"and a third one, long too").reverse(third, NOW) == first
    assert srs("two.example", b"quite another secret here").reverse(second, NOW) == first
    assert srs("one.example").reverse(first, NOW) == sender


def former(text: str) -> str:
    """Return the hash as it was made before it was bound to the kind of the address."""
    digest = hmac.new(SECRET, text.lower().encode(), hashlib.sha256).digest()
    return "".join("abcdefghijklmnopqrstuvwxyz234567"[octet & 31] for octet in digest[:8])


def test_a_hash_of_one_kind_is_none_of_the_other():
    """What we gave out as SRS0 cannot be handed in as SRS1, nor the other way round, nor as what formerly was hashed."""
    first = srs().forward(Address.parse("anna@example.com"), NOW)
    second = srs().forward(Address.parse("SRS0=abcd=wu=example.com=anna@first.example"), NOW)
    for sent in (first, second):
        kind, hashed, rest = sent.local[:4], *sent.local[5:].split("=", 1)
        other = "SRS1" if kind == "SRS0" else "SRS0"
        assert srs().reverse(sent, NOW)
        for made_up in (
            f"{other}={hashed}={rest}",
            f"{other}={hashed}={kind}={rest}",
            f"{kind}={hashed}={kind}={rest}",
        ):
            with pytest.raises(BadSrs, match="not ours"):
                srs().reverse(Address(made_up, "forwarder.example"), NOW)


def test_what_was_made_before_finds_back():
    """Bounces of mail that was sent before an update come home."""
    day = srs().forward(Address.parse("anna@example.com"), NOW).local.split("=")[2]
    for kind, rest, found in (
        ("SRS0", f"{day}=example.com=anna", "anna@example.com"),
        ("SRS1", "first.example==abcd=wu=example.com=anna", "SRS0=abcd=wu=example.com=anna@first.example"),
    ):
        assert str(srs().reverse(Address(f"{kind}={former(rest)}={rest}", "forwarder.example"), NOW)) == found


def test_secrets_can_be_changed():
    """The first signs, all are believed."""
    sender = Address.parse("anna@example.com")
    old = srs("forwarder.example", OLDER).forward(sender, NOW)
    assert srs("forwarder.example", SECRET, OLDER).reverse(old, NOW) == sender
    with pytest.raises(BadSrs, match="not ours"):
        srs("forwarder.example", SECRET).reverse(old, NOW)


@pytest.mark.parametrize(
    "local",
    [
        "SRS0=aaaaaaaa=wu=example.com=anna", "SRS0=", "SRS0==wu=example.com=anna", "SRS1=aaaaaaaa=example.com==x=wu=e=anna", "SRS0=a",
        "SRS1=a=b",
    ],
)  # fmt: skip
def test_what_we_did_not_make_is_refused(local: str):
    """ADR-15: no relay for whoever knows the form."""
    with pytest.raises(BadSrs):
        srs().reverse(Address(local, "forwarder.example"), NOW)


def test_a_changed_address_is_refused():
    """ADR-15: the hash is over the day, the domain and the local part."""
    good = srs().forward(Address.parse("anna@example.com"), NOW).local
    for bad in (
        good.replace("anna", "bert"),
        good.replace("example.com", "victim.example"),
        good.replace("=anna", "=anna=x"),
    ):
        with pytest.raises(BadSrs, match="not ours"):
            srs().reverse(Address(bad, "forwarder.example"), NOW)


class Votes(Plugin):
    """Takes everything, and keeps local mail here."""

    @hook.rcpt
    def rcpt(self, tx, recipient):
        return accept()

    @hook.route
    def route(self, tx, recipient):
        return MaildirRoute("/var/mail/x") if recipient.address.domain == "ours.example" else None


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    secrets = tmp_path / "srs.secrets"
    secrets.write_text(f"{SECRET.decode()}\n{OLDER.decode()}\n")
    return {"domain": "ours.example", "secrets_file": str(secrets)}


def trial(settings: dict[str, object], clock: FakeClock | None = None) -> Trial:
    clock = clock or FakeClock()
    aliases = plugin_from("aliases", Aliases, {"table": {"old@ours.example": ["new@elsewhere.example"]}})
    made = plugin_from("srs", ForwardedSenders, settings, {"clock": clock})
    return Trial(aliases, made, plugin_from("votes", Votes), clock=clock)


async def test_forwarded_mail_gets_a_sender_of_ours_and_its_bounce_finds_back(settings: dict[str, object]):
    """Both ways: the alias's mail goes out under our domain; the notice to that address goes to the first sender."""
    clock = FakeClock()
    it = trial(settings, clock)
    await it.mail("anna@example.com")
    await it.rcpt("old@ours.example")
    await it.message(message())
    sender = it.tx.reverse_path
    assert sender is not None
    assert sender.domain == "ours.example"
    assert it.tx.results["srs"] == ("pass", "rewritten")
    clock.advance(2 * DAY)
    back = trial(settings, clock)
    await back.mail("")
    assert (await back.rcpt(str(sender))).kind.value == "accept"
    assert [str(recipient.address) for recipient in back.tx.recipients] == ["anna@example.com"]


@pytest.mark.parametrize(
    ("sender", "recipient", "change"),
    [
        ("anna@example.com", "bert@ours.example", {}),
        ("anna@ours.example", "old@ours.example", {}),
        ("", "old@ours.example", {}),
        ("anna@example.com", "old@ours.example", {"relaying": True}),
        ("anna@example.com", "old@ours.example", {"identity": "anna"}),
        ("anna@example.com", "bert@friends.example", {"local": ["friends.example"]}),
    ],
)
async def test_other_mail_keeps_its_sender(
    settings: dict[str, object], sender: str, recipient: str, change: dict[str, object]
):
    """Mail that stays, mail of our own, bounces, and mail of our own clients."""
    change = dict(change)
    it = trial({**settings, "local_domains": change.pop("local", [])})
    for name, value in change.items():
        setattr(it.session, name, value)
    await it.mail(sender)
    await it.rcpt(recipient)
    await it.message(message())
    assert it.tx.reverse_path == (Address.parse(sender) if sender else None)


async def test_bad_and_strange_returns_are_refused(settings: dict[str, object]):
    """550 5.1.1 for what we did not make; 550 5.7.1 for ordinary mail to what we made, unless the operator wants it."""
    made = Srs("ours.example", (SECRET,), max_age=21 * DAY, hash_length=8).forward(
        Address.parse("a@example.com"), FakeClock().now()
    )
    it = trial(settings)
    await it.mail("")
    assert str((await it.rcpt("SRS0=aaaaaaaa=wu=example.com=a@ours.example")).reply).startswith("550 5.1.1")
    assert it.tx.recipients == []
    await it.mail("somebody@example.net")
    assert str((await it.rcpt(str(made))).reply).startswith("550 5.7.1")
    open_ = trial({**settings, "bounces_only": False})
    await open_.mail("somebody@example.net")
    assert (await open_.rcpt(str(made))).kind.value == "accept"


def test_a_secret_that_is_guessed_is_refused(settings: dict[str, object], tmp_path: Path):
    """At the start."""
    short = tmp_path / "short"
    short.write_text("secret\n")
    for path in (short, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="secrets_file"):
            trial({**settings, "secrets_file": str(path)})
