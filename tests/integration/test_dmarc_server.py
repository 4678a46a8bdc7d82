"""DMARC and lists in DNS at a real server: what a forger is told, and the report that his victim gets."""

from __future__ import annotations

import asyncio
import email
import email.policy
import gzip
import time
from email.message import EmailMessage
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import pytest

from integration.conftest import MakeServer
from integration.proxied import CLIENT, Proxied, behind_proxy
from integration.receiver import Received, Receiver
from integration.server import UpesiServer, free_port
from integration.signed import make_keys, signers
from upesi.store.aggregates import DAY, Aggregates
from upesi.testkit.dns import FakeDns

LISTED = "8.8.8.8"
ZONE = {
    ("attacker.example", "TXT"): [f'"v=spf1 ip4:{CLIENT} -all"'],
    ("_dmarc.bank.example", "TXT"): ['"v=DMARC1; p=reject; rua=mailto:reports@bank.example,mailto:x@stranger.example"'],
    ("_dmarc.attacker.example", "TXT"): ['"v=DMARC1; p=reject"'],
    ("2.0.0.127.bl.example", "A"): ["127.0.0.2"],
    ("8.8.8.8.bl.example", "A"): ["127.0.0.2"],
}
PLUGINS = ["spf", "dkim", "dmarc", "dnsbl", "authentication_results"]
SETTINGS = """
[plugins.dnsbl.zones."bl.example"]
text = false

[reports]
organization = "Tests & Co"
"""


def deliver(port: int) -> list[str]:
    """Send as the attacker, in his own name and the bank's; return what was said."""
    said = []
    with Proxied(port, "client.example") as client:
        for fields in (
            "From: x@attacker.example",
            "From: ceo@bank.example",
            "From: x@attacker.example\r\nFrom : ceo@bank.example",
        ):
            client.ehlo_or_helo_if_needed()
            client.mail("x@attacker.example")
            client.rcpt("b@example.net")
            code, text = client.data(f"{fields}\r\nSubject: x\r\n\r\nhello\r\n".encode())
            said.append(f"{code} {text.decode()}")
    with Proxied(port, "client.example", LISTED) as client:
        client.ehlo()
        code, text = client.mail("x@attacker.example")
        said.append(f"{code} {text.decode()}")
    return said


async def yesterday(spool: Path) -> None:
    """Let all that was kept have happened a day earlier, so that its report is due."""
    aggregates = Aggregates(spool / "dmarc-1.db", time.time)
    await aggregates._run(lambda db: db.run("UPDATE policy SET day = day - 1, due = 0"))
    await aggregates._run(lambda db: db.run("UPDATE seen SET day = day - 1"))
    await aggregates.close()


async def reported(
    make: MakeServer, receiver: Receiver, plugins: list[str], settings: str
) -> tuple[UpesiServer, list[str], list[Received]]:
    """Let a server take mail, and report it a day later; return the server, what it said, and what came out."""
    port = free_port()
    async with FakeDns(ZONE, port=free_port()) as dns:
        more = behind_proxy(port, dns.address[1], receiver.port, plugins, settings)
        server: UpesiServer = await asyncio.to_thread(make, more)
        said = await asyncio.to_thread(deliver, port)
        await asyncio.to_thread(receiver.wait_for, 1)
        assert await asyncio.to_thread(server.stop) == 0
        await yesterday(server.spool)
        await asyncio.to_thread(server.start)
        messages = await asyncio.to_thread(receiver.wait_for, 2)
        await asyncio.to_thread(server.stop)
    return server, said, messages


@pytest.mark.slow
async def test_a_forger_is_refused_and_his_victim_hears_of_it(upesi_server: MakeServer, receiver: Receiver) -> None:
    """C76, C78, C79, C105: refused by policy, by list and for two authors; one report, to the domain alone, also over a restart."""
    server, said, (own, report) = await reported(upesi_server, receiver, PLUGINS, SETTINGS)
    assert [line.partition(" as ")[0] for line in said[1:]] == [
        "550 5.7.26 bank.example asks to refuse mail that is not authenticated",
        "550 5.7.1 Message not accepted: there are several From fields",
        "550 5.7.1 Client 8.8.8.8 is listed by bl.example",
    ]
    assert said[0].startswith("250 ")
    assert b"dmarc=pass header.from=attacker.example policy.dmarc=reject" in own.data.replace(b"\r\n ", b" ")
    assert (report.reverse_path, report.forward_paths) == ("", ("reports@bank.example",))
    _check(report.data)
    assert [event["recipients"] for event in server.events("report.sent")] == [1]


@pytest.mark.slow
async def test_a_report_leaves_signed(upesi_server: MakeServer, receiver: Receiver, tmp_path: Path) -> None:
    """C79: an aggregate report has valid signatures of the server's own name, so that who gets it can tell it from a forged one."""
    keys, zone = make_keys(tmp_path / "keys", "upesi.test")
    signing = f'{SETTINGS}[plugins.dkim_sign.keys."upesi.test"]\n{keys}\n'
    _, _, (own, report) = await reported(upesi_server, receiver, [*PLUGINS, "dkim_sign"], signing)
    assert b"\r\nFrom: <postmaster@upesi.test>\r\n" in report.data
    assert signers(report.data, zone) == [("pass", "upesi.test")] * 2
    assert signers(own.data, zone) == []
    _check(report.data)


def _check(octets: bytes) -> None:
    message = cast(EmailMessage, email.message_from_bytes(octets, policy=email.policy.default))
    assert message["Subject"].startswith("Report Domain: bank.example Submitter: upesi.test Report-ID: <")
    attached = list(message.iter_parts())[1]
    root = ElementTree.fromstring(gzip.decompress(attached.get_content()))
    told = {element.tag.rpartition("}")[2]: element.text for element in root.iter()}
    assert (told["org_name"], told["source_ip"], told["count"], told["disposition"]) == (
        "Tests & Co",
        CLIENT,
        "1",
        "reject",
    )
    assert (told["header_from"], told["envelope_from"]) == ("bank.example", "attacker.example")
    assert int(told["begin"] or 0) % DAY == 0
