"""Two workers, one site: whoever takes a message in hands it over to the worker that sends it."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

from integration.conftest import MakeServer, route_to
from integration.injection import stalling_calls
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import PATIENCE, UpesiServer, free_port, wait_until


def _worker_of(server: UpesiServer, event: str) -> int:
    """Return the process of the worker that logged the last `event`."""
    slot = server.events(event)[-1]["worker"]
    return int(next(each["pid"] for each in server.events("worker.started")[::-1] if each["worker"] == slot))


def _stranger(server: UpesiServer, owner: int) -> smtplib.SMTP:
    """Return a session with the worker that is not `owner`: the kernel chooses, so as many as it takes."""
    for _ in range(100):
        client = smtplib.SMTP("127.0.0.1", server.port, timeout=PATIENCE)
        client.docmd("EHLO", "client.example")
        seen = len(server.events("transaction.accepted"))
        client.sendmail("a@example.com", ["b@example.net"], numbered(0, b"x\r\n"))
        wait_until(lambda seen=seen: len(server.events("transaction.accepted")) > seen)
        if _worker_of(server, "transaction.accepted") != owner:
            return client
        client.quit()
    raise AssertionError("every session went to one worker")


def _owner(server: UpesiServer) -> int:
    server.send(numbered(0, b"x\r\n"))
    wait_until(lambda: server.events("delivery.delivered"), what="a delivery")
    return _worker_of(server, "delivery.delivered")


def test_what_one_worker_takes_in_the_other_writes_and_sends(upesi_server: MakeServer, receiver: Receiver) -> None:
    """Each message arrives once and whole, and those of the other worker went by line and not through the spool's index."""
    server, port = upesi_server(route_to(receiver.port), workers=2, started=False), free_port()
    server.file.write_text(server.file.read_text().replace("[metrics]\nport = 0", f"[metrics]\nport = {port}"))
    server.start()

    def handed_over() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            found = re.search(r"^upesi_messages_handed_over_total (\d+)", answer.read().decode(), re.MULTILINE)
        return int(found[1]) if found else 0

    with _stranger(server, _owner(server)) as client:
        before = len(receiver.messages)
        for number in range(1, 21):
            client.sendmail("a@example.com", ["b@example.net"], numbered(number, b"x" * number * 100 + b"\r\n"))
        wait_until(lambda: len(receiver.messages) >= before + 20, what="arrival")
    came = sorted(number_of(message.data) for message in receiver.messages[before:])
    assert [number for number in came if number] == list(range(1, 21))
    wait_until(lambda: handed_over() >= 20, what="the count of those that were handed over")


def test_mail_that_a_killed_owner_never_wrote_is_written_by_who_took_it_in(
    upesi_server: MakeServer, receiver: Receiver
) -> None:
    """Q1, Q5: the owner hangs with a message that it was given and is killed for it; its client hears 250, and it arrives once."""
    server = upesi_server(route_to(receiver.port), workers=2)
    owner = _owner(server)
    with _stranger(server, owner) as client:
        os.kill(owner, signal.SIGSTOP)
        start = time.monotonic()
        client.sendmail("a@example.com", ["b@example.net"], numbered(7, b"x\r\n"))
        # it was the supervisor's patience with the hung one that was waited for, and not a timeout of the client's
        assert time.monotonic() - start > 1
        client.sendmail("a@example.com", ["b@example.net"], numbered(8, b"x\r\n"))
    wait_until(
        lambda: {7, 8} <= {number_of(message.data) for message in list(receiver.messages)}, what="arrival of both"
    )
    came = [number_of(message.data) for message in receiver.messages]
    assert (came.count(7), came.count(8)) == (1, 1)


def test_a_leaving_owner_whose_disk_stalls_leaves_nobody_in_doubt(
    upesi_server: MakeServer, receiver: Receiver, tmp_path: Path
) -> None:
    """Q1, Q2: longer than an owner says goodbye its disk stands still. What it was given is written once."""
    server = upesi_server(route_to(receiver.port), workers=2)
    owner = _owner(server)
    clients = [_stranger(server, owner) for _ in range(4)]
    with ThreadPoolExecutor(len(clients)) as pool:

        def send(number: int) -> None:
            # the first is in the sync that stalls, the others behind it
            time.sleep(number * 0.1)
            clients[number].sendmail("a@example.com", ["b@example.net"], numbered(1 + number, b"x\r\n"))

        with stalling_calls(owner, tmp_path / "trace", "fdatasync", 7.0):
            sent = [pool.submit(send, number) for number in range(len(clients))]
            time.sleep(1)
            server.stop()
        for each in sent:
            each.result()
    for client in clients:
        client.close()
    rows = apsw.Connection(str(server.spool / "spool.db"), flags=apsw.SQLITE_OPEN_READONLY).execute(
        "SELECT count(*) FROM event WHERE kind = 'message.accepted' GROUP BY message"
    )
    assert {count for (count,) in rows} == {1}
    server.start()
    numbers = set(range(1, 1 + len(clients)))
    wait_until(lambda: numbers <= {number_of(each.data) for each in list(receiver.messages)}, what="arrival of all")
    came = [number_of(each.data) for each in receiver.messages if number_of(each.data)]
    assert sorted(came) == sorted(numbers)


@pytest.mark.parametrize("times", [3])
def test_a_reload_under_load_refuses_nothing(upesi_server: MakeServer, receiver: Receiver, times: int) -> None:
    """Old workers and new ones hand over to each other, or write by themselves: no message gets anything but 250, none comes twice."""
    server = upesi_server(route_to(receiver.port), workers=2)

    def send(part: int) -> None:
        for number in range(part, 400, 8):
            server.send(numbered(number, b"x\r\n"))

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(send, part) for part in range(8)]
        for _ in range(times):
            done = len(server.events("server.reloaded"))
            server.reload()
            wait_until(lambda done=done: len(server.events("server.reloaded")) > done, what="the reload")
        for each in running:
            each.result()
    wait_until(lambda: len(receiver.messages) >= 400, what="arrival")
    assert sorted(number_of(message.data) for message in receiver.messages) == list(range(400))
