"""Mail that one server signs, and that it verifies and seals when it comes back from outside: keys from `upesi dkim new`, DNS, wire."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.proxied import CLIENT, Proxied
from integration.receiver import Receiver
from integration.server import free_port
from integration.signed import make_keys, plain, signers
from unit.mailauth.dkimkit import answers
from upesi.mailauth.arc import ArcValidator
from upesi.mailauth.asking import answered_from
from upesi.mailauth.keys import KeyCache
from upesi.testkit.dns import FakeDns

DOMAIN = "example.com"
# what the tests' servers call themselves
NODE = "upesi.test"
CONTENT = (
    b"From: Anna <anna@example.com>\r\nTo: b@example.net\r\nSubject: Some\r\n\tfolded  subject\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n\r\nHello.  \r\n\r\n.dots\r\n\r\n\r\n"
)


def configuration(inside: int, outside: int, dns: int, next_hop: int, keys: str) -> str:
    """Return the configuration: a listener for our own clients, and one where a proxy says who comes."""
    return f"""{route_to(next_hop)}
[dns]
servers = ["127.0.0.1:{dns}"]

[[listener]]
port = {inside}

[[listener]]
port = {outside}
proxy = ["127.0.0.1"]

[plugins]
enabled = ["relay", "recipients", "dkim", "arc", "dmarc", "authentication_results", "banner", "arc_seal", "dkim_sign"]

[plugins.recipients]
domains = ["example.net"]

[plugins.banner]
plain = "Sent by Example"

[plugins.dkim_sign.keys."{DOMAIN}"]
{keys}

[plugins.arc_seal]
domain = "{DOMAIN}"
selector = "r1"
key = {keys.partition(" = ")[2].partition(chr(10))[0]}
mail = "all"
"""


def send(client: smtplib.SMTP, content: bytes) -> None:
    with client:
        client.ehlo()
        client.sendmail("anna@example.com", ["b@example.net"], content)


@pytest.mark.slow
async def test_what_we_sign_is_valid_when_it_comes_back(
    upesi_server: MakeServer, receiver: Receiver, tmp_path: Path
) -> None:
    """C69, C82: both signatures cover the message with the banner that was added, pass at the next server, and are sealed there."""
    keys, zone = make_keys(tmp_path / "keys", DOMAIN)
    inside, outside = free_port(), free_port()
    records = {(name, "TXT"): [record] for name, record in zone.items()}
    async with FakeDns(records, port=free_port()) as dns:
        await asyncio.to_thread(upesi_server, configuration(inside, outside, dns.address[1], receiver.port, keys))
        await asyncio.to_thread(lambda: send(smtplib.SMTP("127.0.0.1", inside, timeout=60), CONTENT))
        (signed,) = await asyncio.to_thread(receiver.wait_for, 1)
        # as it left, with the trace of a hop in front
        came_back = b"Received: from a by b; Thu, 01 Jan 2026 00:00:00 +0000\r\n" + signed.data
        await asyncio.to_thread(lambda: send(Proxied(outside, "mail.example.com"), came_back))
        verified = (await asyncio.to_thread(receiver.wait_for, 2))[1].data
    assert signed.data.count(b"DKIM-Signature: ") == 2
    assert b"Sent by Example" in signed.data
    unfolded = verified.replace(b"\r\n ", b" ").decode()
    [field] = [line for line in unfolded.split("\r\n") if line.startswith("Authentication-Results: ")]
    assert field.count("dkim=pass header.d=example.com header.i=@example.com") == 2
    assert "header.a=ed25519-sha256" in field
    assert "arc=none" in field
    assert f"smtp.remote-ip={CLIENT}" in field
    validator = ArcValidator()
    validator.feed(verified)
    validator.finish()
    texts = plain(zone)
    outcome = answered_from(validator.outcome(KeyCache()), lambda question: answers(texts, question))
    assert (outcome.result, outcome.reason, outcome.sealers) == ("pass", "", (DOMAIN,))


@pytest.mark.slow
def test_notices_of_ours_are_signed(upesi_server: MakeServer, receiver: Receiver, tmp_path: Path) -> None:
    """DSN-03: a failure notice leaves with valid signatures of the server's own name."""
    keys, zone = make_keys(tmp_path / "keys", NODE)
    receiver.on_rcpt = lambda path: b"550 5.1.1 no such user" if "nobody" in path else b"250 2.1.5 ok"
    server = upesi_server(
        f'{route_to(receiver.port)}[plugins]\nenabled = ["relay", "dkim_sign"]\n[plugins.dkim_sign.keys."{NODE}"]\n{keys}\n'
    )
    server.send(CONTENT, to="nobody@example.net", sender="anna@example.com")
    (notice,) = receiver.wait_for(1)
    assert notice.reverse_path == ""
    assert signers(notice.data, zone) == [("pass", NODE)] * 2
