"""The bundled plugin fcrdns: the client's name, confirmed or not (RFC 8601 section 3)."""

from __future__ import annotations

import pytest

from upesi.hooks.verdict import Verdict
from upesi.mail.answers import Status
from upesi.plugins.fcrdns.plugin import Fcrdns
from upesi.testkit import FakeResolver, Trial

RECORDS = {
    ("192.0.2.1", "PTR"): ["mail.example.org"],
    ("mail.example.org", "A"): ["192.0.2.1"],
    ("192.0.2.2", "PTR"): ["mail.example.org", "lie.example"],
    ("192.0.2.3", "PTR"): ["dsl-192-0-2-3.pool.example"],
    ("dsl-192-0-2-3.pool.example", "A"): ["192.0.2.3"],
    ("5.2.0.192.in-addr.arpa", "PTR"): Status.SERVFAIL,
    ("192.0.2.6", "PTR"): ["slow.example"],
    ("slow.example", "A"): Status.TIMEOUT,
    ("2001:db8::1", "PTR"): ["six.example.org"],
    ("six.example.org", "AAAA"): ["2001:db8::1"],
}

CASES = [
    ("192.0.2.1", ("pass", "mail.example.org"), "pass", ""),
    ("2001:db8::1", ("pass", "six.example.org"), "pass", ""),
    ("192.0.2.2", ("fail", "unconfirmed: mail.example.org"), "fail", "unconfirmed"),
    ("192.0.2.3", ("fail", "generic: dsl-192-0-2-3.pool.example"), "pass", "generic"),
    ("192.0.2.4", ("fail", "missing"), "permerror", "missing"),
    ("192.0.2.5", ("error", "temperror"), "temperror", "temperror"),
    ("192.0.2.6", ("error", "temperror: slow.example"), "temperror", "temperror"),
]


def trial(ip: str, **settings: object) -> Trial:
    """A session with the plugin."""
    return Trial.of(Fcrdns, settings, ip=ip, dns=FakeResolver(RECORDS))


@pytest.mark.parametrize(("ip", "result", "iprev", "knob"), CASES)
async def test_every_outcome_is_left_and_has_a_knob(ip: str, result: tuple[str, str], iprev: str, knob: str) -> None:
    """RFC 8601 section 2.7.3: pass, fail, temperror and permerror (no name at all) of iprev; by default mail is only marked."""
    session = trial(ip)
    assert await session.mail() is None
    assert session.session.results["fcrdns"] == result
    (method,) = session.session.authentication
    assert (method.method, method.result, method.said_of("policy.iprev")) == ("iprev", iprev, ip)
    if not knob:
        return
    verdict = await trial(ip, **{knob: "defer"}).mail()
    assert isinstance(verdict, Verdict)
    assert str(verdict.reply).startswith("451 4.7.25 ")
    if knob != "temperror":
        verdict = await trial(ip, **{knob: "reject"}).mail()
        assert isinstance(verdict, Verdict)
        assert str(verdict.reply).startswith("550 5.7.25 ")


async def test_a_session_is_looked_up_once_and_judged_each_time() -> None:
    """One answer for each session: a second MAIL asks nothing."""
    dns = FakeResolver(RECORDS)
    session = Trial.of(Fcrdns, {"missing": "reject"}, ip="192.0.2.4", dns=dns)
    for _ in range(2):
        assert await session.mail() is not None
    assert len(dns.asked) == 1
    assert len(session.session.authentication) == 1


async def test_those_who_send_for_us_are_not_looked_up() -> None:
    """Whoever logs in may come from anywhere."""
    for change in ({"relaying": True}, {"identity": "anna"}, {"role": "submission"}):
        session = trial("192.0.2.4", missing="reject")
        for name, value in change.items():
            setattr(session.session, name, value)
        assert await session.mail() is None
    assert await trial("192.0.2.4", missing="reject", trusted=["192.0.2.0/24"]).mail() is None


async def test_a_client_without_an_address_is_no_failure() -> None:
    """A Unix socket has no address, and so no name."""
    session = trial("unix", missing="reject")
    assert await session.mail() is None
    assert session.session.results["fcrdns"] == ("skip", "no address")
    assert session.events == []
