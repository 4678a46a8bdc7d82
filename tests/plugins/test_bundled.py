"""The bundled plugins, each as a stranger would see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.session import TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.address import Address
from upesi.mail.answers import Answer, MxRecord, Status
from upesi.mail.handling import Handling
from upesi.mail.route import DiscardRoute
from upesi.plugins.aliases.plugin import Aliases
from upesi.plugins.discard.plugin import Discard
from upesi.plugins.max_hops.plugin import MaxHops
from upesi.plugins.null_mx.plugin import NullMx
from upesi.plugins.recipients.plugin import Recipients
from upesi.plugins.relay.plugin import Relay
from upesi.testkit import Trial, message

TABLES: dict[str, object] = {
    "domains": ["example.com", "b\u00fccher.example", "[192.0.2.9]"],
    "relay_domains": [".customers.example", "other.example"],
    "addresses": ["Anna@example.com", "tag+real@example.com", '"odd name"@example.com'],
}


def said(verdict: object) -> str:
    """The reply of a verdict, "accept" for a vote, nothing for no opinion."""
    if verdict is None:
        return ""
    assert isinstance(verdict, Verdict)
    return "accept" if verdict.kind is VerdictKind.ACCEPT else str(verdict.reply)


UNKNOWN = "550 5.1.1 No such user here"


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("anna@example.com", "accept"),
        ("ANNA@EXAMPLE.COM", "accept"),
        ('"anna"@example.com', "accept"),
        ('"odd name"@example.com', "accept"),
        ("tag+real@example.com", "accept"),
        ("nobody@example.com", UNKNOWN),
        ("anna+tag@example.com", UNKNOWN),
        ("anna@sub.example.com", ""),
        ("anyone@xn--bcher-kva.example", "accept"),
        ("anyone@b\u00fccher.example", "accept"),
        ("anyone@[192.0.2.9]", "accept"),
        ("anyone@other.example", "accept"),
        ("anyone@a.customers.example", "accept"),
        ("anyone@a.b.customers.example", "accept"),
        ("anyone@customers.example", ""),
        ("anyone@xcustomers.example", ""),
        ("anyone@elsewhere.example", ""),
        ("com@com", ""),
    ],
)
async def test_recipients_votes_for_what_is_ours_and_exists(recipient: str, answer: str):
    """Our domains: a vote, or 550 5.1.1 for an address that is not listed where some are; other domains: no opinion."""
    trial = Trial.of(Recipients, TABLES)
    await trial.mail()
    assert said(await trial.rcpt(recipient)) == answer


@pytest.mark.parametrize(
    "recipient", ["postmaster", "Postmaster", "POSTMASTER@example.com", "postmaster@other.example"]
)
async def test_postmaster_is_always_taken(recipient: str):
    """C11, RFC 5321 section 4.5.1: with and without a domain, listed or not."""
    trial = Trial.of(Recipients, TABLES)
    await trial.mail()
    assert said(await trial.rcpt(recipient)) == "accept"


@pytest.mark.parametrize(
    "local",
    [
        "'\\'--;${7*7}{{7*7}}%n$(id)'", "| cmd", "x'/**/UNION SELECT", "../../etc/passwd", "a/b", "con", ".", "u+a+b", "u" + "+a" * 30, "+",
        "++", "anna+../..", "*", "%", "anna%other.example", "@", "",
    ],
)  # fmt: skip
async def test_hostile_local_parts_are_plain_text(local: str):
    """ADR-10, ADR-11, ADR-18: a local part is compared, and nothing is made of it."""
    for separators in ("", "+"):
        trial = Trial.of(Recipients, {**TABLES, "separators": separators})
        (known,) = [hook.function for hook in trial.hooks.rcpt.hooks]
        await trial.mail()
        verdict = known(trial.tx, TransactionRecipient(Address(local, "example.com")))
        assert said(verdict) == ("accept" if separators and local.startswith("anna+") else UNKNOWN)
    assert trial.events == []


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("anna+news@example.com", "accept"),
        ("anna+a+b@example.com", "accept"),
        ("anna-x@example.com", "accept"),
        ("tag+real@example.com", "accept"),
        ("+anna@example.com", UNKNOWN),
        ("bert+news@example.com", UNKNOWN),
    ],
)
async def test_tags_are_cut_where_the_operator_says_so(recipient: str, answer: str):
    """ADR-18: only behind a configured separator, at the first one, and never to nothing."""
    trial = Trial.of(Recipients, {**TABLES, "separators": "+-"})
    await trial.mail()
    assert said(await trial.rcpt(recipient)) == answer


async def test_recipients_reads_files(tmp_path: Path):
    """Domains and addresses from files, with comments; a catch-all takes the whole domain."""
    (tmp_path / "domains").write_text("# ours\nexample.com\nexample.org # since 2020\n\n")
    (tmp_path / "addresses").write_text("anna@example.com\n@example.org\n#bert@example.com\n")
    trial = Trial.of(
        Recipients,
        {"file": str(tmp_path / "domains"), "addresses_file": str(tmp_path / "addresses")},
        name="recipients",
    )
    await trial.mail()
    answers = [said(await trial.rcpt(to)) for to in ("anna@example.com", "bert@example.com", "x@example.org")]
    assert answers == ["accept", UNKNOWN, "accept"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"anna@example.com\nanna@exmaple.com\n", "list:2: 'anna@exmaple.com': exmaple.com is not among the domains"),
        (b"\n\nanna\n", "list:3: 'anna': "),
        (b"\xff\n", "list:1: is not UTF-8"),
        (b"a" * 70_000, "list:1: is longer than 64 kiB"),
        (None, "list: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_in_a_file_names_file_and_line(tmp_path: Path, content: bytes | None, complaint: str):
    """Files are read at start, and what is wrong in them stops it."""
    path = tmp_path / "list"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        Trial.of(Recipients, {"domains": ["example.com"], "addresses_file": str(path)})
    assert complaint in str(error.value)


@pytest.mark.parametrize(
    ("ip", "relaying"),
    [
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("::2", False),
        ("192.0.2.1", False),
        ("128.0.0.1", False),
        ("", False),
        ("local socket", False),
    ],
)
async def test_only_this_machine_may_relay_by_default(ip: str, relaying: bool):
    """The default is closed to the network."""
    trial = Trial.of(Relay, ip=ip)
    assert await trial.connect() is None
    assert trial.session.relaying is relaying
    assert trial.events == []


@pytest.mark.parametrize(("ip", "relaying"), [("192.0.2.77", True), ("2001:db8::5", True), ("127.0.0.1", False)])
async def test_relay_networks_are_the_operators(ip: str, relaying: bool):
    """What is configured replaces the default."""
    trial = Trial.of(Relay, {"networks": ["192.0.2.0/24", "2001:db8::/32"]}, ip=ip)
    await trial.connect()
    assert trial.session.relaying is relaying


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "192.0.2.1/24", "example.com", "", "192.0.2.0/33"])
def test_an_open_relay_cannot_be_configured_by_a_slip(network: str):
    """The whole Internet, host bits set and text that is no network stop the start-up."""
    with pytest.raises(ConfigError, match=r"plugins\.relay: networks: "):
        Trial.of(Relay, {"networks": [network]})


def test_an_open_relay_cannot_be_configured_in_pieces():
    """Two halves of the Internet are all of it; a half is for `upesi config check` to doubt."""
    for halves in (["0.0.0.0/1", "128.0.0.0/1"], ["::/1", "127.0.0.0/8", "8000::/1"]):
        with pytest.raises(ConfigError, match=r"plugins\.relay: networks: together they are the whole Internet"):
            Trial.of(Relay, {"networks": halves})
        Trial.of(Relay, {"networks": halves[:-1]})


@pytest.mark.parametrize(("hops", "refused"), [(0, False), (50, False), (100, False), (101, True), (5000, True)])
async def test_more_than_a_hundred_hops_are_a_loop(hops: int, refused: bool):
    """C25, MSG-04, RFC 5321 section 6.3: more than 100 Received fields: 554 5.4.6."""
    trial = Trial.of(MaxHops)
    await trial.mail()
    await trial.rcpt()
    content = message(top=[("Received", "from a by b; Thu, 01 Jan 2026 00:00:00 +0000")] * hops)
    expected = "554 5.4.6 Too many hops, this message is in a loop" if refused else ""
    assert said(await trial.message(content)) == expected


async def test_only_received_fields_of_the_header_are_hops():
    """Received-SPF is none, and what stands in the body is text."""
    trial = Trial.of(MaxHops, {"limit": 2}, name="maxhops")
    await trial.mail()
    content = message("Received: x\n" * 10, top=[("Received-SPF", "pass")] * 10 + [("RECEIVED", "from a")] * 2)
    assert await trial.message(content) is None


@pytest.mark.parametrize(
    ("settings", "recipient", "discarded"),
    [
        ({"everything": True}, "a@example.com", True),
        ({"domains": ["example.com"]}, "a@EXAMPLE.com", True),
        ({"domains": ["example.com"]}, "a@sub.example.com", False),
        ({"recipients": ["No-Reply@example.com"]}, "no-reply@example.com", True),
        ({"recipients": ["no-reply@example.com"]}, "reply@example.com", False),
    ],
)
async def test_discard_routes_to_nowhere_what_is_configured(
    settings: dict[str, object], recipient: str, discarded: bool
):
    """A DiscardRoute for these recipients, no opinion about others, and no vote for anybody."""
    trial = Trial.of(Discard, settings)
    trial.session.relaying = True
    await trial.mail()
    assert await trial.rcpt(recipient) is None
    assert trial.tx.recipients[0].route == (DiscardRoute() if discarded else None)


def test_discard_needs_something_to_discard():
    """Enabled without settings it would do nothing in silence."""
    with pytest.raises(ConfigError, match="nothing is to be discarded"):
        Trial.of(Discard)


ALIASES: dict[str, object] = {
    "domains": ["example.com"],
    "table": {
        "postmaster": ["anna"],
        "sales@example.com": ["anna@example.com", "bert@elsewhere.example"],
        "all@example.com": ["sales@example.com", "anna@example.com", "carl@example.com"],
        "copy@example.com": ["copy@example.com", "anna@example.com"],
        "a@example.com": ["b@example.com"],
        "b@example.com": ["c@example.com"],
        "c@example.com": ["a@example.com"],
        "into@example.com": ["a@example.com"],
    },
}


async def expanded(trial: Trial, *recipients: str) -> list[str]:
    await trial.mail()
    for recipient in recipients:
        await trial.rcpt(recipient)
    await trial.message(message())
    return [str(recipient.address) for recipient in trial.tx.recipients]


@pytest.mark.parametrize(
    ("recipients", "addresses"),
    [
        (["sales@example.com"], ["anna@example.com", "bert@elsewhere.example"]),
        (["SALES@example.com"], ["anna@example.com", "bert@elsewhere.example"]),
        (["all@example.com"], ["anna@example.com", "bert@elsewhere.example", "carl@example.com"]),
        (["copy@example.com"], ["copy@example.com", "anna@example.com"]),
        (["postmaster"], ["anna@example.com"]),
        (["postmaster@example.com"], ["anna@example.com"]),
        (["sales@example.com", "all@example.com"], ["anna@example.com", "bert@elsewhere.example", "carl@example.com"]),
        (["dora@example.com", "sales@example.com"], ["dora@example.com", "anna@example.com", "bert@elsewhere.example"]),
        (["sales@example.com", "anna@example.com"], ["bert@elsewhere.example", "anna@example.com"]),
    ],
)
async def test_an_alias_is_replaced_by_the_addresses_behind_it(recipients: list[str], addresses: list[str]):
    """Each address once, however many ways lead to it; others stay as they are."""
    trial = Trial.of(Aliases, ALIASES)
    trial.session.relaying = True
    assert await expanded(trial, *recipients) == addresses


@pytest.mark.parametrize("recipient", ["a@example.com", "b@example.com", "into@example.com"])
async def test_an_alias_that_leads_back_is_refused(recipient: str):
    """ADR-17: a to b to c to a is 554 5.4.6, wherever one enters."""
    trial = Trial.of(Aliases, ALIASES)
    await trial.mail()
    assert said(await trial.rcpt(recipient)) == "554 5.4.6 This alias leads back to itself"


async def test_an_alias_to_too_many_is_refused():
    """ADR-17: a list of 100,000 that includes itself is bounded, as are a thousand levels."""
    table: dict[str, object] = {"big@example.com": ["big@example.com", *(f"u{n}@example.com" for n in range(100_000))]}
    table |= {f"deep{n}@example.com": [f"deep{n + 1}@example.com"] for n in range(1000)}
    table |= {"fits@example.com": [f"u{n}@example.com" for n in range(1000)]}
    trial = Trial.of(Aliases, {"table": table})
    await trial.mail()
    refused = "554 5.4.6 This alias leads to too many addresses"
    assert said(await trial.rcpt("big@example.com")) == refused
    assert said(await trial.rcpt("deep0@example.com")) == refused
    assert said(await trial.rcpt("deep950@example.com")) == "accept"
    assert said(await trial.rcpt("fits@example.com")) == "accept"


async def test_many_ways_to_the_same_addresses_are_walked_once():
    """Forty levels of two ways each are 2**40 paths and eighty steps."""
    table = {f"n{level}@example.com": [f"{side}{level}@example.com" for side in "lr"] for level in range(40)}
    table |= {f"{side}{level}@example.com": [f"n{level + 1}@example.com"] for level in range(40) for side in "lr"}
    trial = Trial.of(Aliases, {"table": table})
    assert await expanded(trial, "n0@example.com") == ["n40@example.com"]


async def test_what_the_sender_asked_for_goes_with_the_mail():
    """RFC 3461 section 5.2.7.3: ORCPT names whom the sender named; NOTIFY goes on without SUCCESS, which is told once: expanded."""
    trial = Trial.of(Aliases, ALIASES)
    await trial.mail()
    await trial.rcpt("sales@example.com")
    trial.tx.recipients[0].notify = 3
    trial.tx.recipients[0].handling = Handling(tenant="acme")
    first = trial.tx.recipients[0]
    await trial.message(message())
    # the same object: LMTP's reply to this RCPT follows what becomes of it
    assert trial.tx.recipients[0] is first
    assert first.route is None
    assert {(r.original, r.notify) for r in trial.tx.recipients} == {("rfc822;sales@example.com", 2)}
    # whose mail it is does not change with its addresses
    assert {r.handling for r in trial.tx.recipients} == {Handling(tenant="acme")}
    assert [(str(alias.address), alias.notify) for alias in trial.tx.expanded] == [("sales@example.com", 3)]


async def test_an_alias_of_one_address_passes_everything_on():
    """RFC 3461 section 5.2.7.2: who is behind it tells of success."""
    trial = Trial.of(Aliases, {"table": {"one@example.com": ["two@example.com"]}})
    await trial.mail()
    await trial.rcpt("one@example.com")
    trial.tx.recipients[0].notify = 3
    await trial.message(message())
    assert [(str(r.address), r.notify) for r in trial.tx.recipients] == [("two@example.com", 3)]
    assert trial.tx.expanded == ()


async def test_an_alias_that_was_refused_for_itself_stays():
    """A verdict for one recipient keeps its meaning: nobody behind that alias gets the mail."""
    trial = Trial.of(Aliases, ALIASES)
    await trial.mail()
    await trial.rcpt("sales@example.com")
    verdict = Verdict(VerdictKind.REJECT)
    trial.tx.recipients[0].verdict = verdict
    await trial.message(message())
    assert [(str(r.address), r.verdict) for r in trial.tx.recipients] == [("sales@example.com", verdict)]


async def test_aliases_come_from_a_file(tmp_path: Path):
    """alias: address, address; comments; bare names at the configured domains."""
    path = tmp_path / "aliases"
    path.write_text("# who\nsales: anna, bert@elsewhere.example # two\ninfo@example.org:anna@example.com\n")
    trial = Trial.of(Aliases, {"domains": ["example.com"], "file": str(path)})
    addresses = await expanded(trial, "sales@example.com", "info@example.org")
    assert addresses == ["anna@example.com", "bert@elsewhere.example"]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"table": {"sales": ["a@example.com"]}}, "table: 'sales': has no domain, and there are no `domains`"),
        ({"table": {"sales@example.com": []}}, "table: 'sales@example.com': leads nowhere"),
        ({"table": {"sales@example.com": ["a b@example.com"]}}, "target 'a b@example.com': local part is not valid"),
        ({"table": {"sales@example.com": ["| /bin/sh"]}}, "target '| /bin/sh@example.com'"),
        (
            {"domains": ["example.com"], "table": {"x": ["a@b.example"], "X@example.com": ["c@b.example"]}},
            "is there twice",
        ),
        ({"max_expansion": 0}, "max_expansion must be at least 1"),
    ],
)
def test_a_mistake_in_the_aliases_stops_the_start_up(settings: dict[str, object], complaint: str):
    """ADR-10: a target is an address and nothing else; no pipes, no files."""
    with pytest.raises(ConfigError) as error:
        Trial.of(Aliases, settings)
    assert complaint in str(error.value)


def test_a_line_that_is_no_alias_is_named(tmp_path: Path):
    """File and line."""
    path = tmp_path / "aliases"
    path.write_text("sales@example.com: a@example.com\nsales anna\n")
    with pytest.raises(ConfigError, match=r"aliases:2: not of the form"):
        Trial.of(Aliases, {"file": str(path)})


class Zone:
    """DNS from a table of exchanges."""

    def __init__(self, **domains: tuple[str, ...]) -> None:
        self.domains = {name.replace("_", "."): exchanges for name, exchanges in domains.items()}
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Answer:
        self.asked.append(domain)
        exchanges = self.domains.get(domain)
        if exchanges is None:
            return Answer(Status.TIMEOUT)
        return Answer(Status.OK, mx=tuple(MxRecord(n, exchange) for n, exchange in enumerate(exchanges)))


@pytest.mark.parametrize(
    ("sender", "answer"),
    [
        ("a@none.example", "550 5.7.27 Sender address has null MX"),
        ("a@NONE.example", "550 5.7.27 Sender address has null MX"),
        ("a@both.example", ""),
        ("a@good.example", ""),
        ("a@silent.example", ""),
        ("a@ours.example", ""),
        ("a@[192.0.2.1]", ""),
        ("", ""),
    ],
)
async def test_a_sender_who_takes_no_mail_is_refused(sender: str, answer: str):
    """C83, RFC 7505 section 4.2: 550 5.7.27 for a null MX alone; no answer of DNS is no opinion; literals and <> are not asked about."""
    zone = Zone(none_example=("",), ours_example=("",), both_example=("", "mx.example"), good_example=("mx.example",))
    trial = Trial.of(NullMx, {"exempt": ["ours.example"]}, services={"dns": zone})
    assert said(await trial.mail(sender)) == answer
    assert len(zone.asked) == (sender not in ("", "a@ours.example", "a@[192.0.2.1]"))
