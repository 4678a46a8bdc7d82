"""Other people's programs in front of us: Postfix speaks LMTP and XFORWARD, swaks XCLIENT; and a site asks for its mail by ETRN."""

from __future__ import annotations

import smtplib
import subprocess

from integration.conftest import MakePostfix, MakeServer, program, route_to
from integration.receiver import Receiver
from integration.server import free_port, wait_until


def with_listener(keys: str, next_hop: int) -> tuple[int, str]:
    """Return the port of one more listener with these keys, and the configuration for it."""
    port = free_port()
    return port, f"{route_to(next_hop)}[[listener]]\nport = {port}\n{keys}"


def test_postfix_delivers_over_lmtp(upesi_server: MakeServer, postfix: MakePostfix, receiver: Receiver) -> None:
    """C99: Postfix's LMTP client hears one reply for each recipient, and takes back the one that was refused after the data."""
    port, more = with_listener('role = "lmtp"\n', receiver.port)
    plugin = (
        "from upesi.plugin import hook, reject\n\n\n"
        "@hook.message\n"
        "def full(tx):\n"
        "    for recipient in tx.recipients:\n"
        '        if recipient.address.local == "full":\n'
        '            recipient.verdict = reject("5.2.2", "Mailbox is full")\n'
    )
    server = upesi_server(more, started=False)
    folder = server.folder / "plugins"
    folder.mkdir()
    (folder / "quota.py").write_text(plugin)
    server.file.write_text(server.file.read_text() + '[plugins]\nenabled = ["relay", "quota"]\nfolder = "plugins"\n')
    server.start()
    relay = postfix(port, "default_transport = lmtp\nlmtp_destination_recipient_limit = 10\n")
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.sendmail(
            "a@example.com", ["b@example.net", "full@example.net", "c@example.net"], b"Subject: x\r\n\r\nhello\r\n"
        )
    messages = receiver.wait_for(2)
    delivered = next(message for message in messages if message.reverse_path == "a@example.com")
    assert sorted(delivered.forward_paths) == ["b@example.net", "c@example.net"]
    assert b"\tby upesi.test with LMTP id " in delivered.data
    # the notice of failure is Postfix's own, and comes through us to the sender
    notice = next(message for message in messages if message.reverse_path == "")
    assert notice.forward_paths == ("a@example.com",)
    assert b"full@example.net" in notice.data
    assert b"5.2.2 Mailbox is full" in notice.data


def test_postfix_says_where_mail_came_from(upesi_server: MakeServer, postfix: MakePostfix, receiver: Receiver) -> None:
    """PRX-03: Postfix's XFORWARD, in its own spelling and split as it does: the log names the client of Postfix."""
    port, more = with_listener('xforward = ["127.0.0.0/8"]\n', receiver.port)
    server = upesi_server(more)
    relay = postfix(port, "smtp_send_xforward_command = yes\nsmtpd_authorized_xforward_hosts = 127.0.0.0/8\n")
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=20) as client:
        client.ehlo("far.example")
        client.docmd("XFORWARD NAME=far.example ADDR=198.51.100.7 PORT=4711 HELO=far PROTO=ESMTP")
        client.sendmail("a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nhello\r\n")
    receiver.wait_for(1)
    wait_until(lambda: server.events("transaction.accepted"), what="the event")
    (event,) = server.events("transaction.accepted")
    said = str(event["forwarded"]).split()
    assert {"NAME=far.example", "ADDR=198.51.100.7", "PORT=4711", "HELO=far", "PROTO=ESMTP"} <= set(said)
    assert event["client"] == "127.0.0.1"


def test_swaks_says_who_the_client_is(upesi_server: MakeServer, receiver: Receiver) -> None:
    """PRX-03: swaks' XCLIENT, with every attribute that it has: Received and rights are those of the other client."""
    port, more = with_listener('xclient = ["127.0.0.0/8"]\n', receiver.port)
    server = upesi_server(more)
    argv = [
        program("swaks"), "--server", f"127.0.0.1:{port}", "--from", "a@example.com", "--to", "b@example.net",
        "--xclient-addr", "127.0.0.99", "--xclient-name", "far.example", "--xclient-port", "4711", "--xclient-proto", "ESMTP",
        "--xclient-helo", "far.example", "--xclient-destaddr", "127.0.0.1", "--xclient-destport", "25",
    ]  # fmt: skip
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stdout
    (message,) = receiver.wait_for(1)
    assert b" ([127.0.0.99])\r\n" in message.data.partition(b"\tby ")[0]
    # strangers are refused with the same words
    argv[argv.index("127.0.0.99")] = "198.51.100.7"
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert "550 5.7.1 We take no mail for this recipient from you" in result.stdout
    wait_until(lambda: {event["client"] for event in server.events("session.ended")} >= {"127.0.0.1", "127.0.0.99"})


def test_a_site_asks_for_its_mail(upesi_server: MakeServer, receiver: Receiver) -> None:
    """RFC 1985: what waits for a domain is tried at once by ETRN; other domains wait on."""
    answers = {"now": b"451 4.3.0 not yet"}
    receiver.on_rcpt = lambda path: answers["now"]
    port, more = with_listener("", receiver.port)
    waits = '[delivery]\nretry = ["1h"]\njitter = 0.0\n[etrn]\nnetworks = ["127.0.0.0/8"]\ndomains = [".example.net", "example.org"]\n'
    server = upesi_server(more + waits)
    for domain in ("example.net", "sub.example.net", "example.org"):
        server.send(b"Subject: x\r\n\r\nhello\r\n", to=f"b@{domain}")
    wait_until(lambda: len(server.events("delivery.deferred")) == 3, what="three deferrals")
    answers["now"] = b"250 2.1.5 ok"
    with smtplib.SMTP("127.0.0.1", port, timeout=40) as client:
        client.ehlo("site.example")
        assert client.has_extn("etrn")
        assert client.docmd("ETRN elsewhere.example")[0] == 459
        assert client.docmd("ETRN @example.org")[0] == 459
        assert client.docmd("ETRN nothing.example.net")[0] == 251
        assert client.docmd("ETRN @example.net")[0] == 250
        receiver.wait_for(2)
        assert client.docmd("ETRN @example.net")[0] == 251
        assert {message.forward_paths[0] for message in receiver.messages} == {"b@example.net", "b@sub.example.net"}
        assert client.docmd("ETRN example.org")[0] == 250
    assert receiver.wait_for(3)[-1].forward_paths == ("b@example.org",)

    def started() -> list[object]:
        return [event["domain"] for event in server.events("etrn.started") if event["deliveries"]]

    wait_until(lambda: started() == ["@example.net", "example.org"], what="the events of two starts")
