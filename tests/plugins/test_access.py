"""access: by every subject and every form of a pattern; the first rule counts, and lists may be long."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.loading import plugin_from
from upesi.plugin import Plugin, hook, reject
from upesi.plugins.access.plugin import Access
from upesi.testkit import FakeResolver, Trial, message


def said(verdict: object) -> str:
    return "" if verdict is None else str(verdict.reply)


def trial(*rules: str, ip: str = "192.0.2.1", **rest: object) -> Trial:
    return Trial.of(Access, {"rules": list(rules), **rest}, ip=ip)


@pytest.mark.parametrize(
    ("ip", "answer"),
    [
        ("192.0.2.7", ""),
        ("192.0.2.8", "550 5.7.1 Not you"),
        ("198.51.100.4", "451 4.7.1 We take no mail from your address"),
        ("2001:db8::5", "550 5.7.1 We take no mail from your address"),
        ("2001:db9::5", ""),
        ("unix", ""),
    ],
)
async def test_clients_are_known_by_address_and_network(ip: str, answer: str):
    """The first rule that fits counts, whatever its kind."""
    it = trial(
        "allow client 192.0.2.7",
        "deny client 192.0.2.0/24 Not you",
        "defer client 198.51.100.0/24",
        "deny client 2001:db8::/32",
        ip=ip,
    )
    assert said(await it.connect()) == answer


async def test_hostnames_are_those_that_lead_back():
    """DNS is asked only where there is a rule; a name that does not lead back is none."""
    dns = FakeResolver(
        {("192.0.2.1", "PTR"): ["pool-1.dynamic.example"], ("pool-1.dynamic.example", "A"): ["192.0.2.1"],
         ("192.0.2.2", "PTR"): ["pool-2.dynamic.example"]}
    )  # fmt: skip
    rules = {"rules": ["deny hostname .dynamic.example"]}
    assert said(await Trial.of(Access, rules, ip="192.0.2.1", dns=dns).connect()).startswith("550")
    assert said(await Trial.of(Access, rules, ip="192.0.2.2", dns=dns).connect()) == ""
    asked = len(dns.asked)
    await Trial.of(Access, {"rules": ["deny helo x"]}, ip="192.0.2.1", dns=dns).connect()
    assert len(dns.asked) == asked


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("user-pc", True),
        ("a.bad.example", True),
        ("bad.example", False),
        ("ok", False),
    ],
)
async def test_helo_names(name: str, refused: bool):
    """Exact, below a domain, by pattern."""
    it = trial("deny helo localhost", "deny helo .bad.example", "deny helo /^(user|admin)-pc$/ Get a name")
    assert bool(said(await it.helo(name))) is refused


@pytest.mark.parametrize(
    ("sender", "refused"),
    [
        ("a@bad.example", True), ("A@BAD.example", True), ("friend@bad.example", False), ("a@sub.bad.example", False),
        ("a@x.shop.example", True),
        ("a@shop.example", False), ("a@bücher.example", True), ("a@xn--bcher-kva.example", True), ("", True), ("bounce+17@x.example", True),
        ("a@good.example", False),
    ],
)  # fmt: skip
async def test_senders(sender: str, refused: bool):
    """An address, a domain, all below a domain, the sender of bounces, a pattern; an allow in front of them."""
    it = trial(
        "allow sender friend@bad.example",
        "deny sender @bad.example",
        "deny sender @.shop.example",
        "deny sender @bücher.example",
        "deny sender <>",
        "deny sender /^bounce\\+\\d+@/",
    )
    assert bool(said(await it.mail(sender, smtputf8=True))) is refused


async def test_recipients_need_a_vote_all_the_same():
    """To allow a recipient is no vote for it."""
    it = trial("allow recipient anna@example.org", "defer recipient @example.org Not today")
    await it.mail()
    assert await it.rcpt("anna@example.org") is None
    assert it.tx.recipients == []
    assert said(await it.rcpt("bert@example.org")) == "451 4.7.1 Not today"


async def test_headers_are_looked_at_each():
    """Every field of that name; the whole value, or a pattern."""
    rules = (
        "allow header Subject /urgent but fine/",
        "deny header Subject /urgent/ Calm down",
        "deny header X-Bad yes",
    )
    for fields, answer in (
        ({"Subject": "URGENT"}, "550 5.7.1 Calm down"),
        ({"Subject": "urgent but fine"}, ""),
        ({"X-Bad": "Yes"}, "550 5.7.1 We take no such mail"),
        ({"X-Bad": "yes, a bit"}, ""),
    ):
        it = trial(*rules)
        await it.mail()
        await it.rcpt()
        assert said(await it.message(message(fields=fields))) == answer, fields
    it = trial(*rules)
    await it.mail()
    await it.rcpt()
    assert said(await it.message(message(top=[("X-Bad", "no"), ("X-Bad", "yes")]))).startswith("550")


async def test_what_fitted_is_a_result():
    """Of the session for the client, of the transaction for the sender."""
    it = trial("allow client 192.0.2.1", "deny sender @bad.example")
    await it.connect()
    await it.mail("a@bad.example")
    assert it.session.results["access"] == ("pass", "client rules[1]: allow 192.0.2.1")
    assert it.tx.results["access"] == ("fail", "sender rules[2]: deny @bad.example")


class Blocker(Plugin):
    """Refuses everybody."""

    @hook.connect(after=["access"])
    def connect(self, session):
        return reject("5.7.1", "Listed")


@pytest.mark.parametrize(
    ("ip", "overrides", "passes"),
    [("192.0.2.1", ["dnsbl"], True), ("192.0.2.2", ["dnsbl"], False), ("192.0.2.1", [], False)],
)
async def test_an_allow_overrides_named_plugins(ip: str, overrides: list[str], passes: bool):
    """And no others."""
    access = plugin_from("access", Access, {"rules": ["allow client 192.0.2.1"], "overrides": overrides})
    it = Trial(access, plugin_from("dnsbl", Blocker), ip=ip)
    assert (await it.connect() is None) is passes


async def test_a_file_is_a_list_too(tmp_path: Path):
    """Comments, and its line in what is left as evidence; behind the rules of the configuration."""
    file = tmp_path / "access.txt"
    file.write_text("# ours\ndeny sender @bad.example No # because\n\nallow client *\n")
    it = trial("allow sender a@bad.example", file=str(file))
    assert await it.mail("a@bad.example") is None
    assert said(await it.mail("b@bad.example")) == "550 5.7.1 No"
    assert it.tx.results["access"] == ("fail", f"sender {file}:2: deny @bad.example")


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("drop client 192.0.2.1", "'drop' is none of allow, deny, defer"),
        ("deny body x", "'body' is none of client"),
        ("deny client 192.0.2.1/24", "has bits behind its /24: write 192.0.2.0/24 for the network"),
        ("deny client elsewhere.example", "is no network such as"),
        ("deny sender bad.example", "a domain is @bad.example"),
        ("deny sender", "needs a pattern"),
        ("deny header", "needs the name"),
        ("deny helo /a", "must end with one"),
        ("deny helo /(a+)++/", "are not known"),
        ("deny helo /(?=a)/", "are not known"),
    ],
)
def test_a_rule_that_is_none_stops_the_start(rule: str, complaint: str):
    """With its place."""
    with pytest.raises(ConfigError) as error:
        trial("allow client 192.0.2.0/24", rule)
    assert complaint in str(error.value)
    assert "rules[2]" in str(error.value)


async def test_long_lists_cost_what_short_ones_do(tmp_path: Path):
    """A hundred thousand senders are looked up and not gone through: the bound is far above what it takes, and far below a search."""
    file = tmp_path / "access.txt"
    file.write_text("".join(f"deny sender a{number}@d{number % 1000}.example\n" for number in range(100_000)))
    it = trial(file=str(file))
    start = time.process_time()
    for number in range(1_000):
        assert said(await it.mail(f"a{number}@d{number}.example"))
    assert time.process_time() - start < 5
