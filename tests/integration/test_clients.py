"""Other people's clients hand in mail."""

from __future__ import annotations

import asyncio
import smtplib
import subprocess

import aiosmtplib

from integration.conftest import MakePostfix, program
from integration.messages import number_of, numbered, without_trace
from integration.receiver import Receiver
from integration.server import UpesiServer, wait_until


def test_swaks_hands_in_a_message(relaying: UpesiServer, receiver: Receiver) -> None:
    """swaks, the postmaster's test client, finds nothing to complain of, and its message goes out."""
    address = ["--server", f"127.0.0.1:{relaying.port}", "--from", "a@example.com", "--to", "b@example.net"]
    argv = [program("swaks"), *address, "--header", "X-Number: 7", "--body", "hello"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 0, result.stdout
    assert "<** " not in result.stdout
    (message,) = receiver.wait_for(1)
    assert (message.reverse_path, message.forward_paths) == ("a@example.com", ("b@example.net",))
    assert number_of(message.data) == 7


def test_smtplib_sends_many_over_one_connection(relaying: UpesiServer, receiver: Receiver) -> None:
    """RFC 5321 section 4.1.1.5: one session carries any number of transactions, and each has its own envelope."""
    with smtplib.SMTP("127.0.0.1", relaying.port, timeout=20) as client:
        for number in range(20):
            refused = client.sendmail("a@example.com", [f"b{number}@example.net", "c@example.net"], numbered(number))
            assert refused == {}
    messages = receiver.wait_for(20)
    paths = {number_of(message.data): set(message.forward_paths) for message in messages}
    assert paths == {number: {f"b{number}@example.net", "c@example.net"} for number in range(20)}


async def test_aiosmtplib_sends_at_the_same_time(relaying: UpesiServer, receiver: Receiver) -> None:
    """Sessions side by side do not mix: every message comes out once, as it went in."""

    async def one(number: int) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=relaying.port, timeout=20) as client:
            await client.sendmail("a@example.com", ["b@example.net"], numbered(number))

    await asyncio.gather(*(one(number) for number in range(50)))
    messages = await asyncio.to_thread(receiver.wait_for, 50)
    assert sorted(number_of(message.data) for message in messages) == list(range(50))
    assert all(without_trace(message.data) == numbered(number_of(message.data)) for message in messages)


def test_postfix_relays_into_us(relaying: UpesiServer, receiver: Receiver, postfix: MakePostfix) -> None:
    """Postfix as the client, with its pipelining and kept connections: nothing is lost or deferred on the way."""
    front = postfix(relaying.port)
    with smtplib.SMTP("127.0.0.1", front.port, timeout=20) as client:
        for number in range(30):
            client.sendmail("a@example.com", ["b@example.net"], numbered(number))
    messages = receiver.wait_for(30)
    assert sorted(number_of(message.data) for message in messages) == list(range(30))
    log = front.folder / "mail.log"
    # Postfix writes it behind our reply
    wait_until(lambda: log.read_text().count("status=sent") == 30, what="thirty messages that Postfix calls sent")
    assert "status=deferred" not in log.read_text()
