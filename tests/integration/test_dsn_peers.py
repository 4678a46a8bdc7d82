"""Delivery status notifications with other people's servers on both sides, and across kill -9."""

from __future__ import annotations

import email
import email.message
import os
import smtplib
import subprocess
from pathlib import Path

from bench.peers.postfix import PostfixInstance

from integration.conftest import MakePostfix, MakeServer, program, route_to
from integration.messages import numbered
from integration.receiver import Received, Receiver
from integration.server import UPESI, UpesiServer, wait_until

SENDER = "a+b@example.com"


def submit(
    port: int,
    mail: list[str],
    rcpt: list[str],
    to: str = "b@example.net",
    data: bytes = b"Subject: hello\r\n\r\ntext\r\n",
) -> None:
    """Hand in one message with parameters of RFC 3461."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo("client.test")
        assert client.mail(SENDER, mail)[0] == 250
        assert client.rcpt(to, rcpt)[0] == 250
        assert client.data(data)[0] == 250


def reports(receiver: Receiver) -> list[email.message.Message]:
    """Return the notices that came to the sender, each checked: from <>, with three parts."""
    found = [message for message in list(receiver.messages) if SENDER in message.forward_paths]
    return [parsed(message) for message in found]


def parsed(message: Received) -> email.message.Message:
    assert message.reverse_path == ""
    read = email.message_from_bytes(message.data)
    assert read.get_content_type() == "multipart/report"
    assert len(read.get_payload()) == 3
    return read


def fields(report: email.message.Message) -> tuple[email.message.Message, email.message.Message]:
    """Return the fields of the message and those of the one recipient."""
    blocks = report.get_payload()[1].get_payload()
    assert len(blocks) == 2
    return blocks[0], blocks[1]


def one_report(receiver: Receiver) -> email.message.Message:
    wait_until(lambda: reports(receiver), what="a notice")
    (report,) = reports(receiver)
    return report


def test_postfix_gets_what_the_sender_asked_and_tells_itself(
    upesi_server: MakeServer, postfix_receiver: PostfixInstance, receiver: Receiver
) -> None:
    """ENVID, RET, NOTIFY and ORCPT reach a next hop that offers DSN, which then reports, and we do not (C56, RFC 3461 section 5.2.1)."""
    server = upesi_server(route_to(postfix_receiver.port))
    submit(
        server.port, ["RET=HDRS", "ENVID=QQ+2B3+3D14"], ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Al+2Bias@Example.Org"]
    )
    report = one_report(receiver)
    about, one = fields(report)
    assert about["Reporting-MTA"] == "dns; postfix.example.org"
    assert about["Original-Envelope-Id"] == "QQ+3=14"
    assert one["Original-Recipient"] == "rfc822;Al+ias@Example.Org"
    assert one["Action"] == "relayed"
    # the message and one notice of Postfix's: none of ours
    assert len(receiver.messages) == 2
    assert server.log.read_text().count('"message.confirmed"') == 0


def test_we_report_for_postfix_where_the_next_hop_will_not(
    upesi_server: MakeServer, postfix: MakePostfix, receiver: Receiver
) -> None:
    """Postfix hands us what its sender asked, for we offer DSN; the hop behind us does not, so we say "relayed" (C56)."""
    server = upesi_server(route_to(receiver.port))
    submit(postfix(server.port).port, ["ENVID=from-postfix"], ["NOTIFY=SUCCESS", "ORCPT=rfc822;b@example.net"])
    about, one = fields(one_report(receiver))
    assert about["Reporting-MTA"] == "dns; upesi.test"
    assert about["Original-Envelope-Id"] == "from-postfix"
    assert one["Original-Recipient"] == "rfc822; b@example.net"
    assert one["Final-Recipient"] == "rfc822; b@example.net"
    assert one["Action"] == "relayed"
    assert one["Status"] == "2.0.0"
    assert one["Remote-MTA"].startswith("dns; [127.0.0.1]")
    assert one["Diagnostic-Code"].startswith("smtp; 250 ")


def test_final_delivery_is_reported_to_who_asked(upesi_server: MakeServer, receiver: Receiver, tmp_path: Path) -> None:
    """A message in its Maildir is "delivered"; whoever did not ask hears nothing (RFC 3461 section 5.2.3)."""
    boxes = tmp_path / "boxes"
    local = f'[[route]]\ndomains = ["example.net"]\nto = "maildir:{boxes}"\n'
    server = upesi_server(local + route_to(receiver.port))
    submit(server.port, [], [])
    submit(server.port, [], ["NOTIFY=FAILURE,DELAY"])
    submit(server.port, ["RET=FULL"], ["NOTIFY=SUCCESS"])
    report = one_report(receiver)
    _, one = fields(report)
    assert one["Action"] == "delivered"
    assert one["Remote-MTA"] is None
    # RFC 3461 section 6.2: without a failure only the header comes back
    assert report.get_payload()[2].get_content_type() == "text/rfc822-headers"
    wait_until(lambda: len(list(boxes.glob("b/new/*"))) == 3, what="three messages in the Maildir")
    assert len(reports(receiver)) == 1


def test_an_alias_for_several_is_expanded_once(upesi_server: MakeServer, receiver: Receiver) -> None:
    """One notice "expanded" to who asked of success, and none of the two behind the alias (RFC 3461 section 5.2.7.3)."""
    alias = '[plugins.aliases.table]\n"team@example.net" = ["b@example.net", "c@example.net"]\n'
    server = upesi_server(route_to(receiver.port) + alias)
    submit(server.port, ["ENVID=all"], ["NOTIFY=SUCCESS"], to="team@example.net")
    about, one = fields(one_report(receiver))
    assert about["Original-Envelope-Id"] == "all"
    assert one["Action"] == "expanded"
    assert one["Final-Recipient"] == "rfc822; team@example.net"
    wait_until(lambda: len(receiver.messages) == 2, what="the message and its notice")
    assert {"b@example.net", "c@example.net"} in [set(message.forward_paths) for message in receiver.messages]


def test_never_is_obeyed(upesi_server: MakeServer, receiver: Receiver) -> None:
    """A failure with NOTIFY=NEVER or NOTIFY=SUCCESS is told to nobody, one with RET=FULL gives the message back (C57, C58)."""
    receiver.on_rcpt = lambda path: b"250 ok" if path == SENDER else b"550 5.1.1 no such user"
    server = upesi_server(route_to(receiver.port))
    submit(server.port, [], ["NOTIFY=NEVER"])
    submit(server.port, [], ["NOTIFY=SUCCESS,DELAY"])
    submit(server.port, ["RET=FULL", "ENVID=third"], ["NOTIFY=FAILURE"])
    report = one_report(receiver)
    about, one = fields(report)
    assert about["Original-Envelope-Id"] == "third"
    assert one["Action"] == "failed"
    assert one["Status"] == "5.1.1"
    assert report.get_payload()[2].get_content_type() == "message/rfc822"
    wait_until(lambda: server.log.read_text().count('"delivery.failed"') == 3, what="three failures")
    assert len(reports(receiver)) == 1


def test_sendmail_asks_for_its_callers(relaying: UpesiServer, receiver: Receiver) -> None:
    """`sendmail -N success -V ID` gets its notice (RFC 3461); mutt and others call it so."""
    argv = [str(UPESI.with_name("upesi-sendmail")), "-f", SENDER, "-N", "success,failure", "-V", "a=b", "b@example.net"]
    environment = {**os.environ, "UPESI_SMTP": f"127.0.0.1:{relaying.port}"}
    subprocess.run(argv, input=b"Subject: x\n\nx\n", env=environment, timeout=30, check=True)
    about, one = fields(one_report(receiver))
    assert about["Original-Envelope-Id"] == "a=b"
    assert one["Action"] == "relayed"


def test_swaks_sees_the_extensions(relaying: UpesiServer) -> None:
    """EHLO names DSN, DELIVERBY with its least time and MT-PRIORITY; FUTURERELEASE is for submission only (C109, RFC 4865)."""
    argv = [program("swaks"), "--server", f"127.0.0.1:{relaying.port}", "--quit-after", "EHLO", "--to", "b@example.net"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    announced = [line.partition("250")[2][1:] for line in result.stdout.splitlines() if "250" in line]
    assert {"DSN", "DELIVERBY 60", "MT-PRIORITY MIXER", "SMTPUTF8"} <= set(announced)
    assert not [line for line in announced if line.startswith(("FUTURERELEASE", "REQUIRETLS"))]


def test_each_failure_has_one_notice_whatever_is_killed(upesi_server: MakeServer, receiver: Receiver) -> None:
    """The notice is born in the transaction that ends the delivery: kill -9 makes neither none nor two of it (STO-02)."""
    receiver.on_rcpt = lambda path: b"250 ok" if path == SENDER else b"550 5.1.1 no such user"
    # notices take their time, so that most are still to be sent when it is killed
    receiver.pause = 0.05
    # one connection, so that much is under way at any moment
    server = upesi_server(route_to(receiver.port) + "\n[delivery]\nsite_connections = 1\n")
    with smtplib.SMTP("127.0.0.1", server.port, timeout=20) as client:
        for number in range(40):
            client.sendmail(SENDER, ["b@example.net"], numbered(number))
    wait_until(lambda: len(ids(receiver)) >= 5, patience=30, what="the first notices")
    server.kill()
    server.start()
    wait_until(lambda: len(ids(receiver)) >= 40, patience=60, what="a notice about each message")
    numbers = [number for _, number in ids(receiver)]
    # a notice itself may be sent twice (Q2), but then it is the same one
    assert sorted(numbers) == list(range(40))


def ids(receiver: Receiver) -> set[tuple[str, int]]:
    """Return the id of each notice with the number of the message that it is about."""
    return {(report["Message-ID"], quoted_number(report)) for report in reports(receiver)}


def quoted_number(report: email.message.Message) -> int:
    return int(report.get_payload()[2].get_payload().split("X-Number: ")[1].split()[0])
