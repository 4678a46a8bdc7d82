"""We hand mail on to other people's servers."""

from __future__ import annotations

import random
import smtplib
from pathlib import Path

from bench.peers.postfix import PostfixInstance

from integration.conftest import MakeServer, route_to
from integration.messages import awkward, number_of, numbered, without_trace
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until


def test_postfix_takes_our_mail(
    upesi_server: MakeServer, postfix_receiver: PostfixInstance, receiver: Receiver
) -> None:
    """Postfix finds nothing to reject in what we send, and no improper pipelining (RFC 2920)."""
    server = upesi_server(route_to(postfix_receiver.port))
    for number in range(30):
        server.send(numbered(number))
    messages = receiver.wait_for(30)
    assert sorted(number_of(message.data) for message in messages) == list(range(30))
    log = (postfix_receiver.folder / "mail.log").read_text()
    assert "improper command pipelining" not in log
    assert "reject" not in log
    assert "lost connection" not in log


def test_smtp_sink_takes_our_mail(upesi_server: MakeServer, smtp_sink: tuple[int, Path]) -> None:
    """smtp-sink, the neutral receiver, writes down each message with the envelope that we were given."""
    port, folder = smtp_sink
    server = upesi_server(route_to(port))
    for number in range(10):
        server.send(numbered(number), to=f"b{number}@example.net")
    # It makes a file at MAIL and fills it as it reads: wait for the contents, not for the name
    wait_until(lambda: sum("X-Number: " in text for text in _texts(folder)) == 10, what="ten messages at smtp-sink")
    texts = _texts(folder)
    for number in range(10):
        (text,) = [text for text in texts if f"X-Number: {number}\n" in text]
        assert f"X-Rcpt-Args: <b{number}@example.net>" in text


def _texts(folder: Path) -> list[str]:
    return [path.read_text() for path in folder.iterdir()]


def test_three_hundred_messages_come_out_octet_for_octet(relaying: UpesiServer, receiver: Receiver) -> None:
    """ARCHITECTURE.md: what goes out is what came in, octet for octet, plus the trace field."""
    chance = random.Random(2921)
    sent = {number: numbered(number, awkward(chance)) for number in range(300)}
    with smtplib.SMTP("127.0.0.1", relaying.port, timeout=20) as client:
        for data in sent.values():
            client.sendmail("a@example.com", ["b@example.net"], data)
    messages = receiver.wait_for(300, patience=40)
    assert len(messages) == 300
    for message in messages:
        assert without_trace(message.data) == sent[number_of(message.data)]
