"""The bundled plugins dnsbl and dnswl, as sessions meet them."""

from __future__ import annotations

import asyncio

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Answer, Status
from upesi.plugins.dnsbl.plugin import Dnsbl
from upesi.plugins.dnswl.plugin import Dnswl
from upesi.testkit import FakeClock, FakeResolver, Trial

TEST = ("2.0.0.127.bl.example", "A")
RECORDS = {
    TEST: ["127.0.0.2"],
    ("9.2.0.192.bl.example", "A"): ["127.0.0.2"],
    ("9.2.0.192.bl.example", "TXT"): ["see https://bl.example/9\r\n250 fine"],
    ("2.0.0.127.two.example", "A"): ["127.0.0.2"],
    ("9.2.0.192.two.example", "A"): ["127.0.0.3"],
    ("test.names.example", "A"): ["127.0.0.2"],
    ("bad.example.names.example", "A"): ["127.0.0.2"],
    ("2.0.0.127.wl.example", "A"): ["127.0.0.2"],
    ("9.2.0.192.wl.example", "A"): ["127.0.5.3"],
    ("8.2.0.192.wl.example", "A"): ["127.0.5.0"],
}
LISTED = "550 5.7.1 Client 192.0.2.9 is listed by bl.example"


def zones(**more: object) -> dict[str, object]:
    return {"zones": {"bl.example": {"text": False, **more}}}


def trial(settings: dict[str, object], dns: FakeResolver | None = None, ip: str = "192.0.2.9") -> Trial:
    return Trial.of(Dnsbl, settings, ip=ip, hostname="bad.example", dns=dns or FakeResolver(RECORDS))


def said(verdict: object) -> str:
    if verdict is None:
        return ""
    assert isinstance(verdict, Verdict)
    return str(verdict.reply)


def told(session: Trial) -> list[str]:
    return [name for name, _ in session.events]


async def test_a_listed_client_is_refused_and_another_is_not():
    """C105: an entry is 550 5.7.1 by default; nobody else notices."""
    session = trial(zones())
    assert said(await session.mail()) == LISTED
    assert session.session.results["dnsbl"] == ("fail", "bl.example=127.0.0.2")
    other = trial(zones(), ip="192.0.2.10")
    assert said(await other.mail()) == ""
    assert other.session.results["dnsbl"] == ("pass", "")
    assert told(session) == told(other) == []


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        (zones(action="mark"), ""),
        (zones(action="defer"), LISTED.replace("550 5", "451 4")),
        (zones(answers={"127.0.0.2": "spam source"}), f"{LISTED} (spam source)"),
        (zones(answers={"127.0.0.3": "other"}), ""),
        (zones(text=True), f"{LISTED}: see https://bl.example/9 250 fine"),
        (zones(action="score", score=1.5), ""),
        (zones(action="score", score=2), LISTED),
        ({**zones(action="score"), "threshold": 1, "threshold_action": "defer"}, LISTED.replace("550 5", "451 4")),
        (
            {"zones": {"bl.example": {"action": "score", "text": False}, "two.example": {"action": "score"}}},
            LISTED,
        ),
        ({"zones": {"two.example": {"action": "mark"}, "bl.example": {"text": False}}}, LISTED),
        ({**zones(), "exempt": ["192.0.2.0/24"]}, ""),
    ],
)  # fmt: skip
async def test_what_an_entry_means_is_the_operators(settings: dict[str, object], answer: str):
    """C105: mark, score, defer or reject by zone; meanings by answer; the list's own words in one clean line."""
    assert said(await trial(settings).mail()) == answer


@pytest.mark.parametrize(
    ("of", "helo", "sender", "refused"),
    [
        ("helo", "bad.example", "a@good.example", "HELO name bad.example"),
        ("sender", "good.example", "a@bad.example", "Sender domain bad.example"),
        ("hostname", "good.example", "a@good.example", "Client name bad.example"),
        ("helo", "[192.0.2.9]", "a@good.example", ""),
        ("sender", "bad.example", "<>", ""),
    ],
)
async def test_names_are_looked_up_where_a_zone_has_names(of: str, helo: str, sender: str, refused: str):
    """RFC 5782 section 3: HELO, MAIL FROM and the confirmed name of the client; what is no name is not asked about."""
    session = trial({"zones": {"names.example": {"of": [of], "text": False}}})
    await session.helo(helo)
    assert said(await session.mail(sender)) == (f"550 5.7.1 {refused} is listed by names.example" if refused else "")


async def test_who_may_relay_or_has_logged_in_is_not_looked_up():
    """Our own users come from listed networks every day."""
    for attribute, value in (("relaying", True), ("identity", "anna"), ("role", "submission")):
        dns = FakeResolver(RECORDS)
        session = trial(zones(), dns)
        setattr(session.session, attribute, value)
        assert await session.mail() is None
        assert dns.asked == []


async def test_a_client_is_asked_about_once_a_session():
    """Ten messages of one session are one question; another sender is another where senders are looked up."""
    dns = FakeResolver(RECORDS)
    session = trial(zones(action="mark"), dns)
    for _ in range(3):
        await session.mail()
    assert [name for name, _ in dns.asked].count("9.2.0.192.bl.example") == 1


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        ({("1.0.0.127.bl.example", "A"): ["127.0.0.2"]}, "it lists what no list has"),
        ({TEST: Status.NXDOMAIN}, "it does not list what every list has"),
        ({("9.2.0.192.bl.example", "A"): ["198.51.100.1"]}, "it answers with 198.51.100.1"),
        ({("9.2.0.192.bl.example", "A"): ["127.255.255.254"]}, "it refuses to answer us (127.255.255.254)"),
        ({("9.2.0.192.bl.example", "A"): ["127.0.0.1"]}, "it answers with 127.0.0.1"),
    ],
)
async def test_a_list_that_lies_refuses_nobody_and_is_reported(
    lie: dict[tuple[str, str], list[str] | Status], reason: str
):
    """DNS-05, C105: it is disabled loudly, once, and not asked."""
    dns = FakeResolver({**RECORDS, **lie})
    session = trial(zones(), dns)
    assert said(await session.mail()) == ""
    ((name, fields),) = session.events
    assert name == "dnsbl.zone_disabled"
    assert fields["zone"] == "bl.example"
    assert str(fields["reason"]).startswith(reason)
    dns.asked.clear()
    session.session.notes.clear()
    await session.mail()
    assert dns.asked == []


async def test_a_list_that_is_well_again_counts_again():
    """DNS-05: after ten minutes it is tested, and the operator hears that it is back."""
    clock = FakeClock()
    dns = FakeResolver({**RECORDS, ("1.0.0.127.bl.example", "A"): ["127.0.0.2"]})
    session = Trial.of(Dnsbl, zones(), ip="192.0.2.9", dns=dns, clock=clock)
    await session.mail()
    dns.set("1.0.0.127.bl.example", "A", Status.NXDOMAIN)
    for _ in range(2):
        clock.advance(601)
        session.session.notes.clear()
        answer = said(await session.mail())
    assert answer == LISTED
    assert told(session) == ["dnsbl.zone_disabled", "dnsbl.zone_restored"]


async def test_zones_are_tested_at_start():
    """RFC 5782 section 5: before the first client."""
    dns = FakeResolver(RECORDS)
    session = trial(zones(), dns)
    await session.hooks.begin()
    assert dns.asked == [TEST, ("1.0.0.127.bl.example", "A")]


class Slow(FakeResolver):
    """Never answers about one zone."""

    async def query(self, name: str, kind: str) -> Answer:
        if name.endswith(".two.example"):
            await asyncio.Event().wait()
        return await super().query(name, kind)


async def test_a_silent_list_holds_nobody_up_beyond_the_deadline():
    """What the others said by then counts; the silent one lists nobody, and no task of it is left."""
    session = trial({"zones": {"two.example": {}, "bl.example": {"text": False}}, "timeout": "0.05s"}, Slow(RECORDS))
    assert said(await session.mail()) == LISTED
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "there are no zones"),
        ({"zones": {"not a zone": {}}}, "domain is not valid"),
        ({"zones": {f"z{n}.example": {} for n in range(21)}}, "more than 20 zones"),
        ({"zones": {"bl.example": {"answers": {"10.0.0.1": "x"}}}}, "is no answer of a list"),
        ({"zones": {"bl.example": {"actoin": "mark"}}}, "actoin"),
    ],
)
def test_a_slip_in_the_zones_stops_the_start(settings: dict[str, object], complaint: str):
    """An enabled list that asks nothing would be silent for ever."""
    with pytest.raises(ConfigError, match=complaint):
        Trial.of(Dnsbl, settings, dns=FakeResolver())


@pytest.mark.parametrize(("ip", "result"), [("192.0.2.9", "pass"), ("192.0.2.8", "none"), ("192.0.2.7", "none")])
async def test_an_allow_list_leaves_pass(ip: str, result: str):
    """RFC 5782 section 6 asks for no more: answers that the table does not name are no listing."""
    session = Trial.of(
        Dnswl, {"zones": {"wl.example": {"answers": {"127.0.*.1-3": "trusted"}}}}, ip=ip, dns=FakeResolver(RECORDS)
    )
    assert await session.mail() is None
    assert session.session.results["dnswl"][0] == result


async def test_who_is_on_an_allow_list_is_not_asked_about_at_block_lists():
    """The result of dnswl is what dnsbl looks at."""
    dns = FakeResolver(RECORDS)
    session = trial(zones(), dns)
    session.session.results["dnswl"] = ("pass", "wl.example=127.0.5.3")
    assert await session.mail() is None
    assert dns.asked == []


def test_an_allow_list_of_names_cannot_be_configured():
    """Whoever likes can greet with a name that is on it."""
    with pytest.raises(ConfigError, match="client's address only"):
        Trial.of(Dnswl, {"zones": {"wl.example": {"of": ["helo"]}}}, dns=FakeResolver())
