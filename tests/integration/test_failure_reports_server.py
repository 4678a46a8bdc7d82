"""Failure reports of DMARC at a real server: what its victim hears of a forged message, octet by octet, and what he does not."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from integration.conftest import MakeServer
from integration.proxied import CLIENT, Proxied, behind_proxy
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until
from upesi.reports.arf_redaction import Redactor
from upesi.store.lifetimes import SqliteKeys
from upesi.testkit.dns import FakeDns

ZONE = {
    ("bank.example", "TXT"): ['"v=spf1 -all"'],
    ("_dmarc.bank.example", "TXT"): [
        '"v=DMARC1; p=reject; fo=1; ruf=mailto:failures@bank.example,mailto:x@stranger.example"'
    ],
    ("_dmarc.quiet.example", "TXT"): ['"v=DMARC1; p=reject; rua=mailto:r@quiet.example"'],
}
FORGED = (
    b"Received: from pc.client.example (secretlogin [192.0.2.7]) by relay.client.example with ESMTPSA\r\n"
    b" for <secretfriend@example.net>; Tue, 19 Jul 2022 07:57:41 +0200\r\n"
    b'From: "Secret Name" <secretboss@bank.example>\r\n'
    b"To: Secret Friend <secretfriend@example.net>\r\n"
    b"Subject: secretplans\r\n"
    b"X-Odd: secretvalue\r\n"
    b'Content-Type: text/plain; name="secretfile.txt"\r\n'
    b"\r\n"
    b"secretbody\r\n"
)
PLUGINS = ["spf", "dkim", "dmarc"]
TOLD = "[plugins.dmarc]\nfailure_reports = true\n"


def forge(port: int, *messages: bytes, sender: str = "secretsender@bank.example") -> list[int]:
    """Send messages from one host; return the codes."""
    codes = []
    with Proxied(port, "client.example") as client:
        for message in messages:
            client.ehlo_or_helo_if_needed()
            client.mail(sender)
            client.rcpt("secretfriend@example.net")
            codes.append(client.data(message)[0])
    return codes


async def redactor(spool: Path) -> Redactor:
    """Return what redacts as the server did."""
    keys = SqliteKeys(spool / "keys.db", time.time)
    try:
        key = await keys.get("dmarc:redaction")
    finally:
        await keys.close()
    assert key is not None
    return Redactor(key, "bank.example")


@pytest.mark.slow
async def test_the_victim_of_a_forger_hears_of_it_and_of_nobody_else(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """C80, C100: one report of what failed alike, to the domain alone, null reverse-path, every octet of it ours or redacted."""
    port = free_port()
    async with FakeDns(ZONE, port=free_port()) as dns:
        more = behind_proxy(port, dns.address[1], receiver.port, PLUGINS, TOLD)
        server: UpesiServer = await asyncio.to_thread(upesi_server, more)
        codes = await asyncio.to_thread(forge, port, FORGED, FORGED)
        (report,) = await asyncio.to_thread(receiver.wait_for, 1)
        assert await asyncio.to_thread(server.stop) == 0
    assert codes == [550, 550]
    assert (report.reverse_path, report.forward_paths) == ("", ("failures@bank.example",))
    assert b"secret" not in report.data.lower()
    assert report.data.decode("ascii") == expected(report.data.decode("ascii"), await redactor(server.spool))
    assert [event["destination"] for event in server.events("report.failure_sent")] == ["bank.example"]


def expected(said: str, redacted: Redactor) -> str:
    """Return the whole report; its id and its two times are taken from what was said."""
    id = re.findall(r"\r\nMessage-ID: <([0-9a-f]{32})@upesi\.test>\r\n", said)[0]
    sent = re.findall(r"\ADate: ([^\r]+)\r\n", said)[0]
    arrived = re.findall(r"\r\nArrival-Date: ([^\r]+)\r\n", said)[0]
    sender = redacted.text("secretsender@bank.example")
    lines = [
        f"Date: {sent}",
        "From: <postmaster@upesi.test>",
        "To: <failures@bank.example>",
        "Subject: DMARC failure report for bank.example",
        f"Message-ID: <{id}@upesi.test>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=feedback-report;",
        f' boundary="=_{id}"',
        "",
        f"--=_{id}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        "This is a report (RFC 9991, RFC 6591) about an email message that came from",
        f"{CLIENT} on {arrived} with",
        "bank.example in its From field, and was not authenticated in every way that",
        "the record at _dmarc.bank.example asks to be told of.",
        "",
        "Local parts of addresses and all content are redacted (RFC 6590).",
        f"--=_{id}",
        "Content-Type: message/feedback-report",
        "",
        "Feedback-Type: auth-failure",
        "User-Agent: Upesi",
        "Version: 1",
        "Auth-Failure: dmarc",
        "Authentication-Results: upesi.test; spf=fail",
        f" smtp.mailfrom={sender}@bank.example; dkim=none; dmarc=fail",
        " header.from=bank.example policy.dmarc=reject",
        "Identity-Alignment: dkim, spf",
        "Delivery-Result: reject",
        'SPF-DNS: txt : bank.example : "v=spf1 -all"',
        f"Original-Mail-From: <{sender}@bank.example>",
        f"Arrival-Date: {arrived}",
        f"Source-IP: {CLIENT}",
        "Source-Port: 4000",
        "Reported-Domain: bank.example",
        "",
        f"--=_{id}",
        "Content-Type: text/rfc822-headers",
        "",
        "Received: from pc.client.example ([192.0.2.7]) by relay.client.example with",
        " ESMTPSA; Tue, 19 Jul 2022 05:57:41 -0000",
        f"From: <{redacted.text('secretboss@bank.example')}@bank.example>",
        f"To: <{redacted.text('secretfriend@example.net')}@example.net>",
        f"Subject: {redacted.text('secretplans')}",
        f"X-Odd: {redacted.text('secretvalue')}",
        "Content-Type: text/plain",
        "",
        f"--=_{id}--",
        "",
    ]
    return "\r\n".join(lines)


@pytest.mark.slow
async def test_nothing_is_sent_unless_the_operator_says_so(upesi_server: MakeServer, receiver: Receiver) -> None:
    """C80: off by default. The message behind the forged one is the first that goes out."""
    port = free_port()
    async with FakeDns(ZONE, port=free_port()) as dns:
        more = behind_proxy(port, dns.address[1], receiver.port, PLUGINS, "")
        server: UpesiServer = await asyncio.to_thread(upesi_server, more)
        codes = await asyncio.to_thread(forge, port, FORGED)
        ordinary = b"From: a@plain.example\r\nSubject: x\r\n\r\nhello\r\n"
        codes += await asyncio.to_thread(forge, port, ordinary, sender="a@plain.example")
        (message,) = await asyncio.to_thread(receiver.wait_for, 1)
        await asyncio.to_thread(server.stop)
    assert codes == [550, 250]
    assert message.reverse_path == "a@plain.example"
    assert not server.events("report.failure_sent")


@pytest.mark.slow
async def test_a_limit_holds_over_the_machine(upesi_server: MakeServer, receiver: Receiver) -> None:
    """C80: of three ways to fail one is told, and an event says that there were more."""
    port = free_port()
    async with FakeDns(ZONE, port=free_port()) as dns:
        more = behind_proxy(port, dns.address[1], receiver.port, PLUGINS, TOLD)
        server: UpesiServer = await asyncio.to_thread(upesi_server, f'{more}\n[reports]\nfailures_of_domain = "1/1h"\n')
        others = [FORGED.replace(b"boss@bank", b"boss@%d.bank" % number) for number in range(2)]
        codes = await asyncio.to_thread(forge, port, FORGED, *others)
        await asyncio.to_thread(wait_until, lambda: server.events("report.failure_limited"))
        (report,) = await asyncio.to_thread(receiver.wait_for, 1)
        await asyncio.to_thread(server.stop)
    assert codes == [550] * 3
    assert len(server.events("report.failure_sent")) == 1
    assert [event["limit"] for event in server.events("report.failure_limited")] == ["domain"]
    assert report.forward_paths == ("failures@bank.example",)
