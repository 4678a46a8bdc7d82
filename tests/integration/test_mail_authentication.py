"""Who sent it: a server with the checks of senders on, its DNS, and the field that it writes, octet for octet at the next hop."""

from __future__ import annotations

import asyncio

import pytest

from integration.conftest import MakeServer
from integration.proxied import CLIENT, Proxied, behind_proxy
from integration.receiver import Receiver
from integration.server import free_port
from upesi.testkit.dns import FakeDns

ZONE = {
    ("example.com", "TXT"): [f'"v=spf1 ip4:{CLIENT} " "-all"'],
    ("example.com", "MX"): ["10 mail.example.com."],
    ("mail.example.com", "A"): [CLIENT],
    ("mail.example.com", "TXT"): ['"v=spf1 a -all"'],
    ("9.9.9.9.in-addr.arpa", "PTR"): ["mail.example.com."],
    ("strict.example", "TXT"): ['"v=spf1 -all exp=why.strict.example"'],
    ("why.strict.example", "TXT"): ['"ask %{r} about %{i}"'],
    ("strict.example", "A"): [CLIENT],
    ("null.example", "MX"): ["0 ."],
}
CONTENT = (
    b"Authentication-Results: UPESI.test (ours);\r\n spf=pass smtp.mailfrom=forged.example\r\n"
    b"Authentication-Results: other.example; spf=none\r\n"
    b"From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n"
)
PLUGINS = ["fcrdns", "helo", "sender_domain", "spf", "authentication_results"]
SETTINGS = """
[plugins.spf]
fail = "reject"
received_spf = true

[plugins.helo]
bare_ip = "reject"
"""


def deliver(port: int) -> list[str]:
    """Send one message that is taken; return what was said to those that are not."""
    refused = []
    with Proxied(port, "mail.example.com") as client:
        client.ehlo()
        client.sendmail("a@example.com", ["b@example.net"], CONTENT)
        for sender in ("a@strict.example", "a@null.example", "a@gone.example"):
            code, text = client.mail(sender)
            refused.append(f"{code} {text.decode()}")
        client.rset()
        client.ehlo(CLIENT)
        code, text = client.mail("a@example.com")
        refused.append(f"{code} {text.decode()}")
    return refused


@pytest.mark.slow
async def test_a_message_is_checked_and_says_so(upesi_server: MakeServer, receiver: Receiver) -> None:
    """C62, C66, C81: HELO, MAIL FROM, the client's name and the sender's domain are checked; one field says so, the forged one is gone."""
    port = free_port()
    async with FakeDns(ZONE, port=free_port()) as dns:
        more = behind_proxy(port, dns.address[1], receiver.port, PLUGINS, SETTINGS)
        # the server is started, and spoken to, in threads: its DNS answers from this one
        await asyncio.to_thread(upesi_server, more)
        refused = await asyncio.to_thread(deliver, port)
        (message,) = await asyncio.to_thread(receiver.wait_for, 1)
    assert refused == [
        "550 5.7.23 strict.example says that 9.9.9.9 does not send its mail (SPF, MAIL FROM)\n"
        "5.7.23 strict.example explains: ask upesi.test about 9.9.9.9",
        "550 5.7.27 Sender address has null MX",
        "550 5.1.8 The domain of the sender, gone.example, has neither MX nor address records",
        "550 5.7.1 9.9.9.9 is no name: an address stands in brackets (RFC 5321 section 4.1.3)",
    ]
    unfolded = message.data.replace(b"\r\n ", b" ").decode()
    fields = [line for line in unfolded.partition("\r\n\r\n")[0].split("\r\n") if line.startswith("Authentication-")]
    assert fields == [
        "Authentication-Results: upesi.test; iprev=pass policy.iprev=9.9.9.9; spf=pass smtp.helo=mail.example.com; "
        "spf=pass smtp.mailfrom=a@example.com",
        "Authentication-Results: other.example; spf=none",
    ]
    assert unfolded.count("\r\nReceived-SPF: pass (upesi.test: domain of ") == 2
    assert message.data.endswith(b"From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n")
